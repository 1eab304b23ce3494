"""What has no meaning on a stream, or with one row at a time. Costs no torch."""

from __future__ import annotations

from typing import Any

from trainer.config import REGULARISERS

REMEDY = "take optim.batch_size of 2 or more, or data.stream.replay into them"
WINDOW = ", or objective.rate.window"
"""The rate's own way out."""


def check_stream(run: Any) -> None:
    """Raise ValueError for settings that would do nothing, or mean nothing; ``run`` is the family's configuration."""
    stream, model, objective, batch = run.data.stream, run.model, run.objective, run.optim.batch_size
    if stream is None:
        if model.norm in ("frozen", "per_segment"):
            raise ValueError(f"model.norm = {model.norm!r} has a meaning only with data.stream; take running or group")
    elif stream.segments == 1 and model.norm in ("frozen", "per_segment"):
        raise ValueError(
            f"model.norm = {model.norm!r} with one segment is running; say that, or give data.stream more segments"
        )
    without = f"model.norm = {model.norm!r}" if model.norm != "batch" else f"encoder {model.encoder.name}"
    if (model.norm != "batch" or model.encoder.patches) and (objective.target_bn != "batch" or objective.double_bn):
        what = "double_bn = True" if objective.double_bn else f"target_bn = {objective.target_bn!r}"
        raise ValueError(f"objective.{what} is about batch-norm, and {without} has none; remove it")
    if run.eval.probe_bn == "train" and model.norm != "batch":
        raise ValueError(f"eval.probe_bn = 'train' is about batch-norm, and model.norm = {model.norm!r} has none")
    if stream is None:
        if objective.consolidate is not None:
            raise ValueError("objective.consolidate has a meaning only with data.stream; remove it")
        return
    if batch == 1 and model.norm == "batch":
        raise ValueError(
            "optim.batch_size = 1: a row alone has no batch statistics; set model.norm to running, frozen, per_segment"
            " or group"
        )
    replay = stream.replay
    into_regularisers = batch + (stream.replayed(batch) if replay and replay.into != "prediction" else 0)
    for name, part in REGULARISERS.items():
        weight, term = getattr(objective.weights, name), getattr(objective, name)
        # before anything is remembered the first step has its own rows only: of one, only these two are numbers
        rows = into_regularisers if name in ("rate", "sigreg") else batch
        # a window holds rows beside this one, and the codes of several views are several rows
        more = name == "rate" and (term.window is not None or term.on == "z" and run.data.observed_views > 1)
        if weight and rows < 2 and not more:
            raise ValueError(
                f"objective.weights.{name} = {weight:g} with optim.batch_size=1: {part.of_one_row}; {REMEDY}"
                f"{WINDOW if name == 'rate' else ''}"
            )
    if replay is not None and replay.into != "both" and objective.symmetric:
        raise ValueError(
            f"data.stream.replay.into = {replay.into!r} is not defined with objective.symmetric; take both"
        )
    if objective.consolidate is not None and stream.segments == 1:
        raise ValueError("objective.consolidate with one segment: there is nothing to keep; give data.stream segments")
    regularised = [name for name in REGULARISERS if getattr(objective.weights, name)]
    if replay is not None and replay.into == "rate" and not regularised:
        raise ValueError("data.stream.replay.into = 'rate' without a regulariser does nothing; give one a weight")
