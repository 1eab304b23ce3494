"""From folders and files to the six frames."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.frames.build import conflicts, frame
from analysis.frames.columns import COLUMNS
from analysis.frames.of_run import evaluation_rows, single
from analysis.frames.of_study import rows_of_study
from analysis.frames.remote import fetched, is_address, renamed
from analysis.ingest import wandb_api
from analysis.ingest.importers import IMPORTERS, imported
from analysis.recorded.study import Study
from analysis.recorded.study import load as load_study
from trainer.errors import RecordError, UsageError
from trainer.record.copies import copies

Rows = dict[str, list[dict[str, Any]]]
RECORDS, EVALUATIONS = "records.jsonl", "evaluation.jsonl"


@dataclass(frozen=True, eq=False)
class Frames:
    """Tidy frames of what was loaded; ``analysis.columns()`` says what their columns mean.

    Attributes:
        studies: one row per study.
        runs: one row per run.
        epochs: one row per run, epoch and split, and one per evaluation.
        trials: one row per search trial.
        arms: one row per compared arm, and one per settings of a run outside studies.
        contrasts: one row per comparison within a study.
        loaded: the studies themselves, in the order of ``studies``, for what frames do not hold.
    """

    studies: pd.DataFrame
    runs: pd.DataFrame
    epochs: pd.DataFrame
    trials: pd.DataFrame
    arms: pd.DataFrame
    contrasts: pd.DataFrame
    loaded: tuple[Study, ...] = ()

    def items(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Names and frames."""
        return ((name, getattr(self, name)) for name in COLUMNS)

    def named(self) -> Iterator[tuple[Study, str]]:
        """Every study with its name in the frames."""
        return zip(self.loaded, self.studies["study"], strict=True)


def load(*paths: str | Path, strict: bool = False, damaged: Callable[[UsageError], None] | None = None) -> Frames:
    """Read studies, results folders, single runs and evaluation records, finished or not, and what others recorded.

    A folder of studies gives all of them; ``ingest.importers`` says what else is read. Rows from elsewhere are marked
    by their origin and never enter ``contrasts``. An address (``s3://bucket/results``) is read as a folder is, and
    ``wandb:ENTITY/PROJECT`` from W&B's server. Without a path the frames are empty, with the same columns and types.

    One of a folder's studies that cannot be read is left out with a warning, which names the file and the remedy; and
    so is a copy of a study or run, since a run that was trained once is no second observation.

    Args:
        strict: refuse the folder instead.
        damaged: told of what is left out, in place of the warning.

    Raises:
        UsageError: a path holds nothing of these, or is itself a study, run or file that cannot be read.
    """
    rows: Rows = {name: [] for name in COLUMNS}
    studies: list[tuple[Path, Study]] = []
    others: list[tuple[Path, list[Rows]]] = []
    sources: dict[Path, Path] = {}
    addresses: dict[str, str] = {}
    given: set[Path] = set()

    def unread(found: Path, error: Exception) -> None:
        said = str(error)
        for local, address in addresses.items():
            said = said.replace(local, address)
        if strict or found in given or (found.is_file() and found.parent in given):
            raise UsageError(said) from None
        (damaged or _left_out)(UsageError(said))

    for path in paths:
        if wandb_api.is_project(path):
            for run in wandb_api.read(str(path)):
                _add(rows, run.rows())
            continue
        local = fetched(str(path)) if is_address(path) else Path(path)
        given.add(local)
        if is_address(path):
            addresses[str(local)] = str(path).rstrip("/")
        for found in _within(local):
            sources.setdefault(found.resolve(), found)  # may be given twice, or also by its folder
    for found in sources.values():
        try:
            if (found / "study.json").is_file():
                studies.append((found, load_study(found)))
            else:
                others.append((found, _read(found)))
        except (UsageError, RecordError) as error:
            unread(found, error)
    records = (found for found, _ in others if found.name == RECORDS)
    twice = copies([*(found for found, _ in studies), *records])
    for copy, of in twice.items():
        warnings.warn(f"counted once: the runs of {copy} are those of {of}", stacklevel=2)
    studies = [one for one in studies if one[0] not in twice]
    for more in (one for found, several in others if found not in twice for one in several):
        _add(rows, more)
    loaded = []
    for (found, study), name in zip(studies, _names([study for _, study in studies]), strict=True):
        try:
            _add(rows, rows_of_study(study, name))  # reads its evaluations too
            loaded.append(study)
        except (UsageError, RecordError) as error:
            unread(found, error)
    if addresses:
        renamed(rows, addresses)
    rows["arms"] = list({(row["study"], row["arm_id"], row["role"]): row for row in reversed(rows["arms"])}.values())[
        ::-1
    ]
    made = {name: frame(name, lines) for name, lines in rows.items()}
    made["epochs"]["conflict"] = conflicts(made["epochs"])
    return Frames(**made, loaded=tuple(loaded))


def _left_out(error: UsageError) -> None:
    warnings.warn(f"left out: {error}", stacklevel=4)


def _within(path: Path, deep: bool = True) -> list[Path]:
    """The studies, records and other sources that a path stands for."""
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder; give a study's folder, or the results folder")
    if (path / "study.json").is_file():
        return [path]
    if path.name in (RECORDS, EVALUATIONS):
        return [path]
    if path.is_dir():
        if (path / RECORDS).is_file() or (path / EVALUATIONS).is_file():
            return [path / name for name in (RECORDS, EVALUATIONS) if (path / name).is_file()]
        if (path / "runs").is_dir():
            return [found for run in _folders(path / "runs") if _recorded(run) for found in _within(run, False)]
        found = [one for child in _folders(path) if deep and _is_ours(child) for one in _within(child, False)]
        if found:
            return found
    if any(one.find(path) for one in IMPORTERS):
        return [path]
    others = "; ".join([*(one.looks_like for one in IMPORTERS), wandb_api.LOOKS_LIKE])
    raise UsageError(
        f"{path} holds no study (study.json), no run ({RECORDS}) and nothing that can be imported; give a study's"
        f" folder, a run's, the results folder, or {others}"
    )


def _read(path: Path) -> list[Rows]:
    """Rows of a run's record, an evaluation record, or what another program wrote."""
    if path.name == EVALUATIONS:
        return [{"epochs": evaluation_rows(path)}]
    if path.name == RECORDS:
        run, arm, epochs = single(path)
        return [{"runs": [run], "arms": [arm], "epochs": epochs}]
    return [run.rows() for run in imported(path) or []]


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _recorded(run: Path) -> bool:
    return (run / RECORDS).is_file() or (run / EVALUATIONS).is_file()


def _is_ours(path: Path) -> bool:
    return (path / "study.json").is_file() or (path / "runs").is_dir() or _recorded(path)


def _names(studies: list[Study]) -> list[str]:
    """A name for each; of several with one name, which folder is meant."""
    names = [study.name for study in studies]
    return [
        f"{name} ({study.folder})" if names.count(name) > 1 else name
        for study, name in zip(studies, names, strict=True)
    ]


def _add(rows: Rows, more: Rows) -> None:
    for name, lines in more.items():
        rows[name] += lines
