"""One checkpoint per run, replaced atomically, readable with ``weights_only=True``."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from trainer.errors import RecordError
from trainer.record.run import write_atomically

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
            # torch writes checksums and does not read them: a flipped bit would be a weight
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(damaged)
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
            load_part(part, state[name])
        except Exception as error:  # each part, and torch for its optimisers, raises its own for what does not fit
            lines = str(error).strip().splitlines()
            why = " ".join(lines[:2])[:200].strip() or type(error).__name__
            raise RecordError(f"{folder / NAME} does not fit this run: {name}: {why}; {REMEDY}") from None


def load_part(part: Any, state: Any) -> None:
    """Like ``part.load_state_dict(state)``, which for an optimiser compares neither shapes nor the types of settings.

    Raises:
        ValueError: the state is of an optimiser of other parameters. Whatever else the part itself raises.
    """
    if not isinstance(part, torch.optim.Optimizer):
        part.load_state_dict(state)
        return
    before = [{name: _kind(value) for name, value in group.items() if name != "params"} for group in part.param_groups]
    part.load_state_dict(state)
    after = [{name: _kind(value) for name, value in group.items() if name != "params"} for group in part.param_groups]
    if before != after:
        raise ValueError(f"its settings are {after}, where {before} are due")
    names = {frozenset(held) for held in part.state.values()}
    if len(names) > 1:
        raise ValueError(
            f"it holds different kinds of state: {', '.join(sorted(' '.join(sorted(map(str, one))) for one in names))}"
        )
    for parameter, held in part.state.items():
        for name, value in held.items():
            if not isinstance(value, torch.Tensor) or value.shape not in (parameter.shape, ()):
                shown = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
                raise ValueError(f"{name} of a parameter of shape {tuple(parameter.shape)} is {shown}")


def _kind(value: Any) -> Any:
    """What a setting must still be after loading: a number or a flag (also as a tensor of one), a tuple of such, or its
    type."""
    if value is None or isinstance(value, int | float) or (isinstance(value, torch.Tensor) and value.ndim == 0):
        return "number"
    return tuple(_kind(one) for one in value) if isinstance(value, tuple) else type(value).__name__
