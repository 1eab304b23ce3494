"""How many trials run side by side. No torch, no ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from studies.engine.settings import Resources

REFRESH_SECONDS = 2.0


def trials_at_once(nodes: Iterable[dict[str, float]], cpus: int, gpus: float, workers: int) -> int:
    """Trials that fit on nodes with these resources; a worker must fit into one node, a trial's workers may be spread.

    Args:
        nodes: ``CPU`` and ``GPU`` of each.
        cpus, gpus: of one worker; a share of a GPU lies on one GPU.
    """
    fit = 0
    for has in nodes:
        by_cpu, here = int(has.get("CPU", 0) // cpus), int(has.get("GPU", 0))
        by_gpu = here // int(gpus) if gpus >= 1 else here * int(1 / gpus + 1e-9) if gpus else by_cpu
        fit += min(by_cpu, by_gpu)
    return fit // workers


def idle_gpus(r: Resources, there: int) -> list[str]:
    """A line where trials would train on processors beside GPUs that nothing uses."""
    if r.gpus or not there:
        return []
    return [f"GPUs       {there} left idle: trials train on CPUs; --gpus-per-trial 1 gives each one, 0.5 half of one"]


class Capacity:
    """What the cluster can run now. A trial handed out earlier would be suggested without the results it waits for,
    would be charged for waiting, and could not be held back by a budget.

    Args:
        nodes: ``ray.nodes``.
        changed: called with the number whenever it is another than before, at first than the plan's.
    """

    def __init__(
        self,
        resources: Resources,
        nodes: Callable[[], list[dict[str, Any]]],
        changed: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._resources, self._nodes, self._changed, self._clock = resources, nodes, changed, clock
        self._looked: float | None = None
        self._fit = resources.concurrent

    def trials(self) -> int:
        """Trials that fit, at most as many as were asked for; nodes come and go."""
        now = self._clock()
        if self._looked is None or now - self._looked > REFRESH_SECONDS:
            self._looked = now
            r = self._resources
            fit = trials_at_once(
                (node["Resources"] for node in self._nodes() if node["Alive"]), r.cpus, r.gpus, r.workers
            )
            fit = min(fit, r.concurrent or fit)
            if fit != self._fit:
                self._fit = fit
                self._changed(fit)
        return self._fit

    def may_start(self, running: int) -> bool:
        """Whether another trial may be handed out beside ``running`` ones.

        If none fits any more, or more were asked for than fit, one waits, so that a cluster which grows on demand sees
        the demand. Not one that starts workers of its own: their start-up has a time limit.
        """
        fit, r = self.trials(), self._resources
        waits = r.backend == "local" and (r.concurrent > fit or fit == 0)
        return running < fit + waits
