"""One checkpoint per run, replaced atomically, readable with ``weights_only=True``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from trainer.errors import RecordError
from trainer.records import write_atomically

NAME = "checkpoint.pt"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write ``folder/checkpoint.pt``; a kill at any moment leaves the old file or the new one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / NAME, buffer.getvalue())


def load(folder: Path, device: torch.device, arm: str) -> dict[str, Any] | None:
    """Read the checkpoint, or None if there is none.

    Raises:
        RecordError: the file belongs to another arm, or cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # on damaged bytes the unpickler raises whatever it stumbles over
        # torch's message would advise weights_only=False, which runs whatever the file contains
        raise RecordError(f"{path} cannot be read ({type(error).__name__}); delete it to start this run again") from None
    if state.get("arm_id") != arm:
        raise RecordError(f"{path} belongs to arm {state.get('arm_id')}, not to {arm}; use another results folder")
    return state
