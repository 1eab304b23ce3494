"""Which GPUs a training process sees, by its place among those that run side by side. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trainer.errors import UsageError

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpu_slots(concurrent: int, gpus: float, visible: list[str]) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each place, None to leave it as it is; as many places as there are GPUs for.

    Args:
        concurrent: trials at once.
        gpus: of one trial; a share of a GPU lies on one GPU.
        visible: the GPUs there are.

    Raises:
        UsageError: not one trial has the GPUs it asks for.
    """
    if not gpus:
        return [None] * concurrent
    if gpus < 1:
        places = visible * int(1 / gpus + 1e-9)  # every GPU once before one is shared
    else:
        whole = int(gpus)
        places = [",".join(visible[at : at + whole]) for at in range(0, len(visible) - whole + 1, whole)]
    if not places:
        raise UsageError(
            f"--gpus-per-trial {gpus:g}: {VISIBLE} leaves {len(visible)} GPU for trials; unset it or lower the number"
        )
    return places[:concurrent]


def visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """The GPUs that CUDA would show to a process of this environment."""
    if VISIBLE in environment:
        return [name.strip() for name in environment[VISIBLE].split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(len(list(devices.glob("nvidia[0-9]*"))))]
