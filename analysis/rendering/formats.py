"""Finished tables as Markdown, LaTeX and HTML. Whatever a label holds is shown as text in each of them."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from analysis.rendering.layout import Sheet

_MARKDOWN = re.compile(r"([\\`*|\[\]$~])|(?<![^\W_])(_)|(_)(?![^\W_])")
_LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\symbol{34}", "[": "{[}", "]": "{]}",
    **{
        letter: rf"\ensuremath{{{sign}}}"
        for letter, sign in {
            "±": r"\pm", "²": "^2", "≥": r"\ge", "≤": r"\le", "→": r"\to", "×": r"\times", "−": "-"
        }.items()
    },
}  # fmt: skip
_FITTING = r"\ifdim\width>\linewidth\linewidth\else\width\fi"
_MINUS = re.compile(r"(?<![\w.)])-(?=\d)")
_CAPITALS = "gamma delta theta lambda xi pi sigma upsilon phi psi omega".split()
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 1.5rem; color: #1a1a1a }}
.scroll {{ overflow-x: auto }}
table {{ border-collapse: collapse; margin: 1.5rem 0 .5rem; border-bottom: 2px solid }}
caption {{ text-align: left; font-weight: 600; padding-bottom: .5rem }}
thead {{ border-top: 2px solid; border-bottom: 1px solid }}
th, td {{ padding: .25rem .6rem; text-align: right; white-space: nowrap; vertical-align: top }}
thead th {{ white-space: normal; max-width: 8rem; vertical-align: bottom }}
.text {{ text-align: left; white-space: normal; min-width: 7rem }}
th[scope=row] {{ font-weight: 400; min-width: 12rem; position: sticky; left: 0; background: #fff }}
@media (max-width: 40rem) {{ th[scope=row] {{ min-width: 7rem }} }}
</style>
<body>
{body}
</body></html>
"""


def to_markdown(sheets: Iterable[Sheet]) -> str:
    """The sheets as Markdown tables under headings; of one without rows its notes."""
    parts = []
    for sheet in sheets:
        rule = [":--" if number < sheet.text else "--:" for number in range(len(sheet.columns))]
        cells = [[as_markdown(cell) for cell in row] for row in (sheet.columns, *sheet.rows)]
        lines = ["| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:])]
        notes = "".join(f"\n{as_markdown(note)}\n" for note in sheet.notes)
        table = "\n" + "\n".join(lines) + "\n" if sheet.rows else ""
        parts.append(f"## {as_markdown(sheet.title)}\n{table}{notes}")
    return "\n".join(parts)


def to_latex(sheets: Iterable[Sheet]) -> str:
    """The sheets as LaTeX tables for the packages booktabs and graphicx, with their titles as captions and notes below;
    one that is wider than the page is drawn smaller. Labels are made of the titles, so that tables of several files
    can stand in one paper.

    Letters beyond ASCII that mathematics has no name for stay as they are: LuaLaTeX and XeLaTeX print them.
    """
    parts, labels = ["% needs \\usepackage{booktabs,graphicx}"], Counter()
    for sheet in sheets:
        if not sheet.rows:
            parts += ["", rf"\paragraph{{{_of_latex(sheet.title)}}}", *map(_of_latex, sheet.notes)]
            continue
        kinds = "l" * sheet.text + "r" * (len(sheet.columns) - sheet.text)
        head, *rows = (" & ".join(map(_of_latex, row)) + r" \\" for row in (sheet.columns, *sheet.rows))
        label = "-".join(re.findall(r"[a-z0-9]+", sheet.title.lower())) or "table"
        labels[label] += 1
        parts += [
            "",
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{_of_latex(sheet.title)}}}",
            rf"\label{{tab:{label}{'' if labels[label] == 1 else f'-{labels[label]}'}}}",
        ]
        parts += [
            rf"\resizebox{{{_FITTING}}}{{!}}{{\begin{{tabular}}{{{kinds}}}",
            r"\toprule",
            head,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
        ]
        parts += [rf"\par\smallskip{{\footnotesize {_of_latex(note)}\par}}" for note in sheet.notes]
        parts.append(r"\end{table}")
    return "\n".join(parts) + "\n"


def to_html(sheets: Iterable[Sheet]) -> str:
    """The sheets as one page that needs nothing else; wide tables scroll."""
    sheets = list(sheets)
    parts = []
    for sheet in sheets:
        notes = "".join(f'\n<p dir="auto">{_of_html(note)}</p>' for note in sheet.notes)
        if not sheet.rows:
            parts.append(f'<h2 dir="auto">{_of_html(sheet.title)}</h2>{notes}')
            continue
        kinds = [' class="text"' if number < sheet.text else "" for number in range(len(sheet.columns))]
        head = "".join(
            f'<th scope="col"{kind}>{_of_html(cell)}</th>' for kind, cell in zip(kinds, sheet.columns, strict=True)
        )
        rows = []
        for row in sheet.rows:
            first = f'<th scope="row"{kinds[0]} dir="auto">{_of_html(row[0])}</th>'
            rest = (
                f'<td{kind} dir="auto">{_of_html(cell)}</td>' for kind, cell in zip(kinds[1:], row[1:], strict=True)
            )
            rows.append(f"<tr>{first}{''.join(rest)}</tr>")
        caption = f'<caption dir="auto">{_of_html(sheet.title)}</caption>'
        table = f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table>"
        parts.append(f'<div class="scroll">{table}</div>{notes}')
    title = _of_html(sheets[0].title) if sheets else "no table"
    return _PAGE.format(title=title, body="\n".join(parts))


def clean(text: str) -> str:
    """One line without letters that act on those around them: controls, and overrides of the direction of writing."""
    line = " ".join(text.split())
    return "".join("\N{REPLACEMENT CHARACTER}" if _acts(letter) else letter for letter in line)


def _acts(letter: str) -> bool:
    return unicodedata.category(letter) == "Cc" or unicodedata.bidirectional(letter) in (
        "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
    )  # fmt: skip


def as_markdown(text: str) -> str:
    """Escaped where Markdown, or the HTML that it may hold, would see more than text; z_agg stays readable."""
    escaped = html.escape(clean(text), quote=False)
    return _MARKDOWN.sub(lambda found: "\\" + found[0], escaped)


def _of_html(text: str) -> str:
    return html.escape(clean(text))


def _of_latex(text: str) -> str:
    signed = _MINUS.sub("\N{MINUS SIGN}", clean(text))
    return "".join(_LATEX.get(letter) or _letter(letter) for letter in signed)


def _letter(letter: str) -> str:
    """Greek letters as mathematics, which every LaTeX prints."""
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", unicodedata.name(letter, ""))
    name = greek[2].lower().replace("lamda", "lambda") if greek else ""
    if not greek or name == "omicron" or (greek[1] == "CAPITAL" and name not in _CAPITALS):
        return letter
    return rf"\ensuremath{{\{name if greek[1] == 'SMALL' else name.capitalize()}}}"
