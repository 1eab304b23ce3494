"""Small streams that several tests share."""

from __future__ import annotations

from trainer import presets
from trainer.config import RunConfig
from trainer.record.identity import run_id
from trainer.record.run import comparable, read

SMALL = [
    "model.encoder.width=4", "model.action_dim=8", "model.predictor_hidden=16", "model.layers=1",
    "data.sizes=[200,100,50]", "optim.batch_size=8", "schedule.name=constant", "schedule.final_lr_ratio=null",
    "schedule.warmup_epochs=0", "eval.probe_epochs=[]", "gates={}",
]  # fmt: skip


def stream(*overrides: str, kind: str = "classes", epochs: int | None = None, **settings: object) -> RunConfig:
    """The digits preset as a small stream; ``segments`` is 5 for classes, 3 for actions, 4 for appearance."""
    total = {"classes": 5, "actions": 3, "appearance": 4, "stationary": 2}[kind]
    base = [f"data.stream.kind={kind}", f"schedule.horizon_epochs={total}"]
    if kind == "stationary":
        base.append("data.stream.checks=2")
    epochs = total if epochs is None else epochs
    return presets.load(
        "digits", [*SMALL, *base, *overrides], {"runtime.across_commits": True, "epochs": epochs, **settings}
    )


def lines(folder, run: RunConfig, event: str) -> list[dict]:
    """What a run has on record, without times and places."""
    return [comparable(line) for line in read(folder / run_id(run) / "records.jsonl") if line["event"] == event]
