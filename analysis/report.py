"""Everything a study shows, written beside it and printed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from rich.console import Console

from analysis.figures import plots
from analysis.figures.pareto_plot import pareto_plot
from analysis.recorded.study import Study, load
from analysis.rendering import render
from analysis.rendering.formats import to_markdown
from analysis.rendering.layout import WIDTH, say, show
from analysis.sentences import answer
from analysis.sentences.bill import costs
from analysis.sentences.confirmation import confirmation
from analysis.sentences.pareto import two_objectives
from analysis.sentences.verdict import sentences
from analysis.statistics.comparison_table import comparison_table, csv_bytes, parquet_bytes
from analysis.statistics.cost import Cost, cost
from analysis.statistics.cost import csv_bytes as cost_bytes
from analysis.statistics.differences import differences
from analysis.tables.importance import importance, importance_sheet
from trainer.command.terminal import Terminal
from trainer.record.run import write_atomically


def report(folder: str | Path, console: Console | None = None, full: bool = False) -> Path:
    """Write ``report/`` inside a study folder, print its answer on one screen, and return its path.

    Every file (table.md, table.csv, table.parquet, cost.csv, setting.png, curves.png, verdict.txt, and pareto.png for
    a search with two objectives) is replaced atomically, so a report can be made again while the study runs.

    Args:
        full: print every table and sentence, not only question, answers and table.

    Raises:
        UsageError: see ``analysis.recorded.study.load``.
    """
    study = load(folder)
    target = Path(folder) / "report"
    spent = cost(study)
    table = comparison_table(study, spent)
    found = differences(study)
    sheets = render.sheets(table, found, confirmation(study), study.declared)
    said = sentences(study, table, spent)
    bill = costs(study, table, spent)
    points = "\n".join(f"- {line}" for line in [*said, *bill])
    markdown = f"# {study.name}\n\n{to_markdown(sheets)}\n{points}\n"
    files = {
        "table.md": markdown.encode(),
        "table.csv": csv_bytes(table),
        "table.parquet": parquet_bytes(table),
        "verdict.txt": "\n".join(said).encode() + b"\n",
        "cost.csv": cost_bytes(spent),
        "setting.png": _png(plots.setting_plot, study),
        "curves.png": _png(plots.curves_plot, study),
    }
    if two_objectives(study):
        files["pareto.png"] = _png(pareto_plot, study)
    for name, content in files.items():
        write_atomically(target / name, content)
    console = console or terminal()
    if full:
        for sheet in sheets:
            show(sheet, console)
            say("", console)
        weighed = importance(study)
        if not isinstance(weighed, str):
            sheet = importance_sheet(weighed)
            show(sheet, console)
            for note in ("", *sheet.notes, ""):
                say(note, console)
        elif study.info.get("num_trials"):
            say(f"Importance of searched settings: {weighed}\n", console)
        for sentence in [*said, *bill]:
            say(f"- {sentence}", console)
        say(f"written to {target}: {', '.join(files)}", console, whole=True)
    else:
        _short(study, table, found, spent, target, console)
    return target


def _short(study: Study, table: pd.DataFrame, found: pd.DataFrame, spent: Cost, target: Path, console: Console) -> None:
    width = console.width
    head = [*answer.question(study, width), "", *answer.answers(study, found, spent, width)]
    folder = _near(study.folder)
    around = len(head) + len(answer.where(target, folder, width, "")) + 1  # and an empty line
    sheet, rest = answer.table(study, table, found, width, answer.LINES - around)
    for line in head:
        say(line, console)
    if sheet is not None:
        say("", console)
        show(sheet, console)
    for line in answer.where(_near(target), folder, width, rest):
        say(line, console, whole=True)


def _near(path: Path) -> Path:
    """The path as it is shortest from here."""
    try:
        return path.absolute().relative_to(Path.cwd())
    except (ValueError, OSError):
        return path


def terminal() -> Console:
    """Where the answer is printed: as wide as the terminal, or ``WIDTH`` columns where it is none."""
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
