"""``python -m trainer --list-presets``: every preset with its length and its own first sentence, by data set."""

from __future__ import annotations

import shutil
from itertools import groupby

from trainer import presets
from trainer.presets import FOLDER

BESIDE = 30
"""Columns a description needs to stand beside the names; with fewer it goes below."""


def lines(columns: int | None = None) -> list[str]:
    """Lines of at most ``columns`` characters (default: the terminal's, 120 without one)."""
    columns = columns or shutil.get_terminal_size((120, 40)).columns
    paths = sorted(FOLDER.rglob("*.yaml"), key=lambda path: (path.parent != FOLDER, path.parent.name, path.stem))
    width = max(len(path.stem) for path in paths)
    text = [f"{'preset':<{width}}  epochs"]
    for folder, of_folder in groupby(paths, key=lambda path: path.parent):
        text.append("" if folder == FOLDER else f"\n{folder.name}")
        for path in of_folder:
            about = _about(path.read_text(encoding="utf-8"))
            name = f"{path.stem:<{width}}  {presets.load(path.stem).epochs:>6}"
            if columns - len(name) - 2 >= BESIDE:
                text.append(f"{name}  {_cut(about, columns - len(name) - 2)}")
            else:
                text += [name, f"    {_cut(about, columns - 4)}"]
    return [*text, "", "All settings of one: python -m trainer --preset NAME --dry-run"]


def _about(text: str) -> str:
    """The first sentence of the leading comment."""
    lines = text.splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.lstrip("# ").strip() for line in lines[:end]).partition(". ")[0]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 2].rsplit(' ', 1)[0]} …"
