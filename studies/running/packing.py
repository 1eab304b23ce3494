"""Several trials on one GPU only after one trial alone has shown how much memory it takes."""

from __future__ import annotations

from typing import Any

from trainer.errors import UsageError
from trainer.workers.memory import fits


class Packing:
    """Guards a fractional GPU.

    Args:
        share: of a GPU per trial; outside (0, 1) nothing is shared and nothing is guarded.
    """

    def __init__(self, share: float):
        self._share = share
        self._measured = not 0 < share < 1

    @property
    def share(self) -> float:
        """What a trial started now may take of a GPU, 0 for all it wants: the first is alone and must show what it
        needs."""
        return self._share if self._measured and 0 < self._share < 1 else 0.0

    def may_start(self, running: int) -> bool:
        """Whether another trial may start beside ``running`` ones."""
        return self._measured or running == 0

    def take(self, report: dict[str, Any]) -> None:
        """Take a trial's report, with the memory measured over the epochs it trained.

        Raises:
            UsageError: the trial does not fit its share, or computes elsewhere than on a GPU.
        """
        if self._measured or report.get("repeated"):
            return  # a report repeated on resuming comes before the first step
        memory = report.get("memory")
        if memory is None:
            raise UsageError(
                f"--gpus-per-trial {self._share:g}: the trial used no GPU, so there is nothing to share; remove it or"
                " runtime.device"
            )
        reason = fits(memory["peak_bytes"], memory["total_bytes"], self._share)
        if reason is not None:
            raise UsageError(reason)
        self._measured = True
