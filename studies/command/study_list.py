"""``python -m studies list``: the studies that can be run, and those in a results folder. No torch, no ray."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from studies.engine.decisions import NAME
from studies.engine.job import NOT_RUN
from trainer.command.cli import Parser
from trainer.errors import UsageError, with_kind
from trainer.record.run import read

ABOUT = "The studies that can be run here, with the question each answers, and the state of those in a results folder."
EXAMPLES = ("python -m studies list", "python -m studies list --results-dir /shared/results")


def main(argv: list[str]) -> int:
    """Print both lists; returns 0. Raises UsageError for a folder that is not there."""
    p = Parser(prog="python -m studies list", description=ABOUT, examples=EXAMPLES)
    p.add_argument("--results-dir", type=Path, help="default: ./results")
    folder = p.parse_args(argv).results_dir
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--results-dir {folder}: there is no such folder")
    columns = shutil.get_terminal_size((120, 40)).columns
    print("studies to run (each has --help and --dry-run)")
    for path, question in questions():
        print(f"  python studies/{path.name}", *textwrap.wrap(question, columns - 6), sep="\n      ")
    found = list(states(folder or Path("results")))
    print(f"\nin {folder or 'results'}{'' if found else ': no study yet'}")
    width = max((len(name) for name, _ in found), default=0)
    for name, state in found:
        print(f"  {name:<{width}}  {state}")
    return 0


def questions() -> Iterator[tuple[Path, str]]:
    """Study files, which are those that declare one, and the question of each."""
    for path in sorted(Path(__file__).parents[1].glob("*.py")):
        if "\nSTUDY = Study(" in path.read_text(encoding="utf-8"):
            yield path, import_module(f"studies.{path.stem}").STUDY.question


def states(results: Path) -> Iterator[tuple[str, str]]:
    """Name and state of every study in a folder, the last begun last."""
    folders = [path.parent for path in results.glob("*/study.json")]
    for folder in sorted(folders, key=lambda path: (path / "study.json").stat().st_mtime):
        try:
            yield folder.name, _state(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield folder.name, f"cannot be read: {with_kind(error)[:120]}"


def _state(folder: Path) -> str:
    study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    finished, last = False, {}
    for line in read(folder / NAME):
        if line["event"] == "finish":
            last[line["name"]] = line["state"]
        finished = line["event"] == "session" and bool(line.get("finished"))
    failed = sum(state in NOT_RUN for state in last.values())
    said = "finished" if finished and not failed else "not finished: continue with --resume"
    more = f", {failed} failed" if failed else ""
    return f"begun {study['created'][:10]}, preset {study['preset']}, {len(last) - failed} runs ended{more}; {said}"
