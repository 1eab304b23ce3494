"""Whether a run can compute with what its trial is given. No torch, no ray."""

from __future__ import annotations

import sys

from studies.engine.settings import Resources
from trainer import placing
from trainer.config import RunConfig
from trainer.errors import UsageError


def check(config: RunConfig, resources: Resources, here: bool) -> None:
    """Refuse settings with which no trial could run, or none as it was asked to.

    Args:
        here: whether trials run on this machine.

    Raises:
        UsageError: device and ``--gpus-per-trial`` contradict each other, or a trial's
            device or workers rule a setting out.
    """
    wanted, gpus = config.runtime.device, resources.gpus
    if gpus and wanted not in ("auto", "cuda"):
        raise UsageError(
            f"runtime.device = {wanted!r}: each trial would hold --gpus-per-trial {gpus:g} and not use it; remove one"
            " of them"
        )
    # some systems show no /dev/nvidia*, by which GPUs are counted
    if wanted == "cuda" and not gpus and resources.concurrent != 1:
        raise UsageError(
            "runtime.device = 'cuda': all trials would crowd onto the first GPU; give --gpus-per-trial 1, or a share"
            " such as 0.5, instead, or --max-concurrent 1"
        )
    if wanted == "mps" and here and sys.platform != "darwin":
        raise UsageError("runtime.device = 'mps': only Apple's machines have it; remove it")
    placing.check(config, "cuda" if gpus else "cpu" if wanted == "auto" else wanted, resources.workers, here)
