"""One checkpoint per run, replaced atomically, readable with ``weights_only=True``."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from trainer.errors import RecordError
from trainer.records import write_atomically

NAME = "checkpoint.pt"
REMEDY = "delete it to train this run again from the start, or restore it from a copy"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write ``folder/checkpoint.pt``; a kill at any moment leaves the old file or the new one."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / NAME, buffer.getvalue())


def load(folder: Path, device: torch.device, arm: str, parts: Iterable[str] = ()) -> dict[str, Any] | None:
    """Read the checkpoint, or None if there is none.

    Args:
        parts: names of what it must hold beside ``views``.

    Raises:
        RecordError: the file belongs to another arm, cannot be read, or is no checkpoint of a run.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch explains at length what a foreign file might be
            state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # on damaged bytes the unpickler raises whatever it stumbles over
        # torch's message would advise weights_only=False, which runs whatever the file contains
        raise RecordError(f"{path} cannot be read ({type(error).__name__}); {REMEDY}") from None
    if not isinstance(state, dict):
        raise RecordError(f"{path} is no run's checkpoint: it holds one {type(state).__name__}; {REMEDY}")
    if missing := [name for name in ("arm_id", "probe_epoch", "views", *parts) if name not in state]:
        raise RecordError(f"{path} is no run's checkpoint: it has no {missing[0]}; {REMEDY}")
    if state["arm_id"] != arm:
        raise RecordError(f"{path} belongs to arm {state['arm_id']}, not to {arm}; use another results folder")
    views = state["views"]
    step = views.get("step") if isinstance(views, dict) else None
    for name, value in (("probe_epoch", state["probe_epoch"]), ("views.step", step)):
        if type(value) is not int or value < 0:
            shown = repr(value) if isinstance(value, int | float | str) else type(value).__name__
            raise RecordError(f"{path}: {name} = {shown}, must be a whole number from 0 on; {REMEDY}")
    return state


def restore(folder: Path, parts: dict[str, Any], state: dict[str, Any]) -> None:
    """Put a checkpoint's state into the parts of a run. Raises RecordError if it does not fit them."""
    for name, part in parts.items():
        try:
            part.load_state_dict(state[name])
        except Exception as error:  # each part, and torch for its optimisers, has exceptions of its own for what does not fit
            lines = str(error).strip().splitlines()
            why = " ".join(lines[:2])[:200].strip() or type(error).__name__
            raise RecordError(f"{folder / NAME} does not fit this run: {name}: {why}; {REMEDY}") from None
