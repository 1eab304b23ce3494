"""Everything a study shows, written beside it and printed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from analysis import plots, render
from analysis.bill import costs
from analysis.confirmation import confirmation
from analysis.cost import cost
from analysis.cost import csv_bytes as cost_bytes
from analysis.differences import differences
from analysis.pareto import two_objectives
from analysis.pareto_plot import pareto_plot
from analysis.study import Study, load
from analysis.tables import comparison_table, csv_bytes, parquet_bytes
from analysis.verdict import sentences
from trainer.records import write_atomically
from trainer.terminal import Terminal

WIDTH = 120


def report(folder: str | Path, console: Console | None = None) -> Path:
    """Write ``report/`` inside a study folder, print table, verdict and cost, and return its path.

    Every file (table.md, table.csv, table.parquet, cost.csv, lambda.png, curves.png, verdict.txt, and pareto.png for
    a search with two objectives) is replaced atomically, so a report can be made again while the study runs.

    Raises:
        UsageError: see ``analysis.study.load``.
    """
    study = load(folder)
    target = Path(folder) / "report"
    spent = cost(study)
    table = comparison_table(study, spent)
    sheets = render.sheets(table, differences(study), confirmation(study))
    said = sentences(study, table, spent)
    bill = costs(study, table, spent)
    points = "\n".join(f"- {line}" for line in [*said, *bill])
    markdown = f"# {study.name}\n\n{render.to_markdown(sheets)}\n{points}\n"
    files = {
        "table.md": markdown.encode(),
        "table.csv": csv_bytes(table),
        "table.parquet": parquet_bytes(table),
        "verdict.txt": "\n".join(said).encode() + b"\n",
        "cost.csv": cost_bytes(spent),
        "lambda.png": _png(plots.lambda_plot, study),
        "curves.png": _png(plots.curves_plot, study),
    }
    if two_objectives(study):
        files["pareto.png"] = _png(pareto_plot, study)
    for name, content in files.items():
        write_atomically(target / name, content)
    # without a terminal rich assumes 80 columns, which would fold the table
    console = console or _console()
    render.to_console(sheets, console)
    for sentence in [*said, *bill]:
        console.print(f"- {sentence}", markup=False, highlight=False)
    console.print(f"written to {target}: {', '.join(files)}", markup=False, highlight=False, soft_wrap=True)
    return target


def _console() -> Console:
    console = Terminal()
    return console if console.is_terminal else Terminal(width=WIDTH)


def _png(plot: Callable[[Study, Path], None], study: Study) -> bytes:
    handle, name = tempfile.mkstemp(suffix=".png")
    os.close(handle)
    path = Path(name)
    try:
        plot(study, path)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
