"""What the engine hands out and what it hears back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

RESULTS = ("complete", "pruned", "collapsed", "diverged")
"""Ends with a result."""
FAILURES = ("failed", "out_of_memory", "hung", "preempted", "memory_pressure", "disk_full")
"""Ends of an attempt that was not run: tried again, and never a bad score."""
PAUSED = "paused"
"""What a trial is that waits at a rung: it has no worker, and may go on."""
NOT_RUN = ("failed", "out_of_memory")
"""Ends of a job whose attempts all failed; the next driver tries it again."""


@dataclass(frozen=True)
class Job:
    """One run to execute.

    Attributes:
        name: unique in the study: ``t007`` for trial 7, ``<run_id>`` for a compared run.
        trial: number of the search trial, None for a compared run.
        group: the level of the strata; the search looks for the best of each.
        bracket: for halving.
        role: of its arm in the comparison, or what else it is for: ``search``, ``race``, ``noise floor``.
    """

    name: str
    trial: int | None
    group: str
    bracket: str
    label: str
    overrides: dict[str, Any]
    seed: int
    baselines: bool = False
    role: str = "search"


@dataclass(frozen=True)
class Seen:
    """What is on record of a run after an epoch.

    Attributes:
        score: the stated scalar by which trials are ranked, linear accuracy of the aggregate in percent; between
            probe epochs the last one. None where it was not finite.
        probe_epoch: when it was measured.
        rank: effective rank of the aggregate then.
        objectives: value of each searched objective by name.
    """

    epoch: int
    score: float | None
    probe_epoch: int | None = None
    diverged: bool = False
    rank: float | None = None
    objectives: dict[str, float | None] = field(default_factory=dict)

    @classmethod
    def of(cls, report: dict[str, Any]) -> Seen:
        """From the report of :func:`trainer.loop.train`."""
        return cls(
            epoch=int(report.get("epoch") or 0),
            score=report.get("score"),
            probe_epoch=report.get("probe_epoch"),
            diverged=bool(report.get("diverged")),
            rank=report.get("rank"),
            objectives={"linacc": report.get("score"), "r2_action": report.get("r2_action")},
        )
