"""Tables, sentences and commands on a console of any width and encoding: columns are dropped, words are never
broken."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 120
"""Columns where the output is no terminal."""
_PLAIN = str.maketrans(
    {
        "±": "+-",
        "\N{GREEK SMALL LETTER LAMDA}": "lambda",
        "τ": "tau",
        "–": "-",
        "—": "-",
        "…": "...",
        "≥": ">=",
        "≤": "<=",
        "²": "2",
        "×": "x",
        "→": "->",
    }
)


@dataclass(frozen=True)
class Sheet:
    """A table of finished cells; the first ``text`` columns hold words, the others numbers.

    Attributes:
        optional: columns that a narrow console goes without, the first to go first.
        notes: sentences below it, where it stands alone.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    text: int = 1
    optional: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def narrowed(sheet: Sheet, width: int) -> Sheet:
    """The sheet without as many of its optional columns as it takes to fit."""
    columns = list(range(len(sheet.columns)))
    for gone in sheet.optional:
        if _natural(sheet, columns) <= width:
            break
        columns.remove(gone)
    rows = [[row[column] for column in columns] for row in sheet.rows]
    text = sum(column < sheet.text for column in columns)
    return replace(sheet, columns=[sheet.columns[column] for column in columns], rows=rows, text=text, optional=())


def show(sheet: Sheet, console: Console) -> None:
    """Print a sheet as a rich table that fits the console; says which columns that cost."""
    sheet = as_encoded(sheet, console)
    fits = narrowed(sheet, console.width)
    gone = [" ".join(column.split()) for column in sheet.columns if column not in fits.columns]
    if fits.title:  # as a title of the table it would be folded to the table's width
        console.print(fits.title, style="bold", markup=False, highlight=False)
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False)
    shown.padding, shown.pad_edge = (0, 1, 0, 0), False
    for number, column in enumerate(fits.columns):
        cells = [column, *(row[number] for row in fits.rows)]
        is_text = number < fits.text
        parts = [part for cell in cells for part in (cell.split() if is_text else cell.split("\n"))]
        least = max(map(len, parts), default=1)  # words wrap between words, numbers not at all
        shown.add_column(
            column, justify="left" if is_text else "right", no_wrap=not is_text, min_width=least, overflow="fold"
        )
    for row in fits.rows:
        shown.add_row(*row)
    console.print(shown, markup=False)
    if gone:
        say(f"(left out at this width, in the report: {', '.join(gone)})", console)


def say(text: str, console: Console, whole: bool = False) -> None:
    """Print a sentence; ``whole`` leaves a path or command in one piece, for the terminal to wrap."""
    console.print(plain(text, console), markup=False, highlight=False, soft_wrap=whole)


def plain(text: str, console: Console) -> str:
    """The text in letters that the console's encoding has."""
    encoding = console.encoding or "utf-8"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.translate(_PLAIN).encode("ascii", "replace").decode()
    return text


def as_encoded(sheet: Sheet, console: Console) -> Sheet:
    rows = [[plain(cell, console) for cell in row] for row in sheet.rows]
    return replace(
        sheet,
        title=plain(sheet.title, console),
        columns=[plain(column, console) for column in sheet.columns],
        rows=rows,
    )


def _natural(sheet: Sheet, columns: list[int]) -> int:
    """Width without wrapping: the longest line of each column and a space after it, and the table's own ends."""
    cells = ([sheet.columns[column], *(row[column] for row in sheet.rows)] for column in columns)
    return 2 + sum(1 + max((len(line) for cell in column for line in cell.split("\n")), default=0) for column in cells)
