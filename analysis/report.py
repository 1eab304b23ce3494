"""Everything a study shows, written beside it and printed."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from analysis.page.facts import Facts, gather
from analysis.page.figures import FIGURES
from analysis.recorded.study import load
from analysis.rendering import render
from analysis.rendering.formats import to_markdown
from analysis.rendering.layout import WIDTH, say, show
from analysis.sentences import answer
from analysis.sentences.bill import costs
from analysis.sentences.pareto import two_objectives
from analysis.sentences.verdict import sentences
from analysis.tables.importance import importance, importance_sheet
from trainer.command.terminal import Terminal, near
from trainer.errors import NO_RIGHT
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
    facts = gather(load(folder))
    study, table, spent = facts.study, facts.table, facts.spent
    target = Path(folder) / "report"
    sheets = render.sheets(table, facts.found, facts.confirmed, study.declared)
    said = sentences(study, table, spent)
    bill = costs(study, table, spent)
    points = "\n".join(f"- {line}" for line in [*said, *bill])
    markdown = f"# {study.name}\n\n{to_markdown(sheets)}\n{points}\n"
    files = {
        "table.md": markdown.encode(),
        "table.csv": table.to_csv(index=False).encode(),
        "table.parquet": table.to_parquet(index=False),
        "verdict.txt": "\n".join(said).encode() + b"\n",
        "cost.csv": spent.runs.to_csv(index=False).encode(),
        "setting.png": FIGURES["search"].png(facts),
        "curves.png": FIGURES["curves"].png(facts),
    }
    if two_objectives(study):
        files["pareto.png"] = FIGURES["objectives"].png(facts)
    try:
        for name, content in files.items():
            write_atomically(target / name, content)
    except OSError as error:
        if error.errno not in NO_RIGHT:
            raise
        # a study of somebody else's, or on a disk that takes nothing: its answer can be read all the same
        whole, written = (
            False,
            f"not written ({error.strerror}: {near(target)}); a page elsewhere: report STUDY --out FILE.html",
        )
    else:
        whole, written = True, str(near(target))
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
        say(f"written to {target}: {', '.join(files)}" if whole else f"Report: {written}", console, whole=True)
    else:
        _short(facts, written, console)
    return target


def _short(facts: Facts, written: str, console: Console) -> None:
    study, width = facts.study, console.width
    head = [*answer.question(study, width), "", *answer.answers(study, facts.found, facts.spent, width)]
    folder = near(study.folder)
    around = len(head) + len(answer.where(written, folder, width, "")) + 1  # and an empty line
    sheet, rest = answer.table(study, facts.table, facts.found, width, answer.LINES - around)
    for line in head:
        say(line, console)
    if sheet is not None:
        say("", console)
        show(sheet, console)
    for line in answer.where(written, folder, width, rest):
        say(line, console, whole=True)


def terminal() -> Console:
    """Where the answer is printed: as wide as the terminal, or ``WIDTH`` columns where it is none."""
    console = Terminal()
    return console if console.is_terminal else Terminal(width=WIDTH)
