"""Everything a study shows, written beside it and printed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from analysis import plots, render
from analysis.differences import differences
from analysis.study import Study, load
from analysis.tables import comparison_table, csv_bytes, parquet_bytes
from analysis.verdict import sentences
from trainer.records import write_atomically

WIDTH = 120


def report(folder: str | Path, console: Console | None = None) -> Path:
    """Write ``report/`` inside a study folder, print table, verdict and cost, and return its path.

    Every file (table.md, table.csv, table.parquet, lambda.png, curves.png, verdict.txt) is replaced
    atomically, so a report can be made again while the study runs.

    Raises:
        UsageError: see ``analysis.study.load``.
    """
    study = load(folder)
    target = Path(folder) / "report"
    table = comparison_table(study)
    sheets = render.sheets(table, differences(study))
    said = sentences(study, table)
    spent = costs(study)
    points = "\n".join(f"- {line}" for line in [*said, *spent])
    markdown = f"# {study.name}\n\n{render.to_markdown(sheets)}\n{points}\n"
    write_atomically(target / "table.md", markdown.encode())
    write_atomically(target / "table.csv", csv_bytes(table))
    write_atomically(target / "table.parquet", parquet_bytes(table))
    write_atomically(target / "verdict.txt", "\n".join(said).encode() + b"\n")
    write_atomically(target / "lambda.png", _png(plots.lambda_plot, study))
    write_atomically(target / "curves.png", _png(plots.curves_plot, study))
    # without a terminal rich assumes 80 columns, which would fold the table
    console = console or _console()
    render.to_console(sheets, console)
    for sentence in [*said, *spent]:
        console.print(f"- {sentence}", markup=False, highlight=False)
    files = "table.md, .csv, .parquet, verdict.txt, lambda.png, curves.png"
    console.print(f"written to {target}: {files}", markup=False, highlight=False, soft_wrap=True)
    return target


def costs(study: Study) -> list[str]:
    """How the time on record was spent, and what early stopping saved, as sentences."""
    kinds = {name.removeprefix("seconds."): study.curves[name].sum() for name in study.curves if name.startswith("seconds.")}
    parts = ", ".join(f"{kind} {_duration(seconds)}" for kind, seconds in sorted(kinds.items(), key=lambda item: -item[1]))
    said = []
    if kinds:
        runs = study.curves["run_id"].nunique()
        said.append(f"Time on record over {runs} runs: {_duration(sum(kinds.values()))} ({parts}).")
    # a driver that was killed noted no session, so its trials' time would have no wall time to be a share of
    if study.sessions and all("cores" in line for line in study.sessions) and kinds:
        wall = sum(line["seconds"] for line in study.sessions)
        available = sum(line["seconds"] * line["cores"] for line in study.sessions)
        used = study.curves[[name for name in study.curves if name.startswith("core_seconds.")]].sum().sum()
        if 0 < used <= available:
            where = f"{_duration(wall)} on {study.sessions[-1]['cores']} cores"
            said.append(f"The study took {where}; training and probes used {100 * used / available:.0f} % of that core time.")
    epochs, stopped = study.info.get("epochs"), study.search[study.search["state"] == "pruned"]
    if epochs and len(study.search):
        saved, planned = int((epochs - stopped["epoch"]).clip(lower=0).sum()), epochs * len(study.search)
        said.append(
            f"Stopped early: {len(stopped)} of {len(study.search)} trials, which saved {saved} of the {planned} epochs "
            f"({100 * saved / planned:.0f} %) of a search without stopping."
        )
    return said


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def _png(plot: Callable[[Study, Path], None], study: Study) -> bytes:
    handle, name = tempfile.mkstemp(suffix=".png")
    os.close(handle)
    path = Path(name)
    try:
        plot(study, path)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
