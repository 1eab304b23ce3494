"""What can be read of others, in the order in which a path is tried."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from analysis.frames.columns import RAY_TUNE, REFERENCE, TENSORBOARD, WANDB, WANDB_CSV
from analysis.ingest import ray_tune, reference, tensorboard, wandb_csv, wandb_offline
from analysis.ingest.foreign import ForeignRun
from trainer.errors import UsageError


class Importer(NamedTuple):
    """One kind of source.

    Attributes:
        origin: what its rows are marked with.
        looks_like: what to give.
        find: the sources that a path is or holds, none if it is not of this kind.
        read: the runs of one of them.
    """

    origin: str
    looks_like: str
    find: Callable[[Path], list[Path]]
    read: Callable[[Path], list[ForeignRun]]


IMPORTERS = (
    Importer(REFERENCE, "a table of published results: analysis.REFERENCE", reference.find, reference.read),
    Importer(WANDB, "an offline folder of W&B: run-<id>.wandb", wandb_offline.find, wandb_offline.read),
    Importer(WANDB_CSV, "a chart's export of W&B: Step, <run> - <metric>", wandb_csv.find, wandb_csv.read),
    # before TensorBoard: Tune writes events as well, without settings and without what is not a number
    Importer(RAY_TUNE, "a trial's or an experiment's folder of Ray Tune: result.json", ray_tune.find, ray_tune.read),
    Importer(TENSORBOARD, "event files of TensorBoard: events.out.tfevents.*", tensorboard.find, tensorboard.read),
)


def imported(path: Path) -> list[ForeignRun] | None:
    """The runs of a path, by the first importer that knows it; None if none does.

    Raises:
        UsageError: a source is damaged.
    """
    for one in IMPORTERS:
        if sources := one.find(path):
            return [run for source in sources for run in _read(one, source)]
    return None


def _read(one: Importer, source: Path) -> list[ForeignRun]:
    try:
        return one.read(source)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{source} is damaged ({error}); restore the file from a copy") from None
