"""Runs of different code or probes do not belong in one table, and those of different processors differ in their last
bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from studies.engine.plan import Plan
from trainer.record.identity import other_code as other_code_of
from trainer.record.identity import processor
from trainer.record.jsonl import parse, raw_lines
from trainer.record.probing import other_probing
from trainer.record.run import read_run


def other_code(folder: Path, plan: Plan) -> str | None:
    """By which other code runs in a study's folder were recorded, in words; None if by no other, or if the plan allows
    it.

    Raises:
        RecordError: a run's record is damaged.
    """
    found = [other_code_of(list(read_run(path, path.parent.name))) for path in _records(folder)]
    return None if plan.across_commits else next(filter(None, found), None)


def other_probes(folder: Path, plan: Plan) -> str | None:
    """How the runs in a study's folder were measured otherwise, by the first record that says it: all are alike."""
    lines = (line for path in _records(folder) for line in read_run(path))
    config = next((line["config"] for line in lines if line.get("config")), {})
    return other_probing(config, plan.base.model_dump(mode="json"))


def other_processor(folder: Path, cards: Iterable[str] = ()) -> str | None:
    """That runs in a study's folder were recorded on other kinds of processor than this, in words; None if none was.

    Args:
        cards: models of the GPUs that train here.
    """
    here = [f"{processor()}, {card}" for card in cards] or [processor()]
    kinds: Counter[str] = Counter()
    for path in _records(folder):
        lines = (parse(path, number, raw) for number, raw in raw_lines(path) if b'"processor"' in raw)
        told = {(line.get("provenance") or {}).get("processor") for line in lines} - {None}
        kinds.update(kind for kind in told if kind.partition(" MIG ")[0] not in here)  # cards are told without a part
    if not kinds:
        return None
    said = "; ".join(f"{kind} ({count})" for kind, count in sorted(kinds.items()))
    return (
        f"runs on record come from another kind of processor, {said}; this is {' and '.join(here)}, which rounds"
        " otherwise: numbers differ in their last bits, and a search may choose otherwise"
    )


def _records(folder: Path) -> list[Path]:
    return sorted((folder / "runs").glob("[!.]*/records.jsonl"))
