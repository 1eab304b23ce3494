"""``--noise-floor``: the reference arm alone on seeds of its own, before anything is searched or compared.

Its spread over seeds is what every difference will be measured against; seeds of the verdict stay unused by it.
"""

from __future__ import annotations

from collections.abc import Callable

from studies.engine.decisions import Decisions
from studies.engine.job import Job
from studies.engine.plan import Plan
from trainer.record.identity import run_id


class NoiseFloor:
    """Runs of the reference arm.

    Args:
        ended: whether a job need not run again.

    Attributes:
        queue: runs not handed out yet.
        names: of all its runs.
    """

    def __init__(self, plan: Plan, decisions: Decisions, ended: Callable[[Job], bool]):
        label, overrides = plan.noise_arm
        jobs = [
            Job(
                run_id(plan.config(overrides, seed)),
                None,
                "",
                "",
                f"noise floor, {label} seed {seed}",
                overrides,
                seed,
                role="noise floor",
            )  # fmt: skip
            for seed in plan.noise_seeds
        ]
        self.names = [job.name for job in jobs]
        self.queue = [job for job in jobs if not ended(job)]
        noted = decisions.last("noise")
        if jobs and (noted is None or noted["runs"] != self.names):
            decisions.append("noise", label=label, seeds=list(plan.noise_seeds), runs=self.names)
