"""Facts into HTML: one file with everything in it, or the parts that a live page exchanges."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import time
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from analysis.page import words
from analysis.page.facts import Facts
from analysis.page.rows import Table, order, tables
from analysis.page.run_details import details
from analysis.page.sections import SECTIONS, Section, drawn

OFFLINE = ("uPlot.iife.min.js", "table.js", "run.js", "page.js")
LIVE = (*OFFLINE, "live.js")
LISTING = ("list.js",)


@dataclass(frozen=True)
class Part:
    """A section as HTML."""

    name: str
    title: str
    html: Markup


@dataclass(frozen=True)
class Live:
    """What the live page's script is to know.

    Attributes:
        key: under which its study is served.
        hashes: of the parts that stand in the page.
        several: whether there is a list of studies to go back to.
    """

    key: str
    hashes: dict[str, str]
    several: bool


@dataclass(frozen=True)
class Written:
    """A study as HTML: its parts and the data of its tables.

    Attributes:
        id: what every id of it in the page begins with.
    """

    id: str
    name: str
    head: words.Head
    parts: list[Part]
    data: Markup


def page(studies: list[Facts], now: float | None = None) -> str:
    """The whole page of one or several studies, to be opened without a server."""
    written = [study_html(facts, f"s{number}") for number, facts in enumerate(studies, start=1)]
    return document(written, OFFLINE, now)


def document(
    written: list[Written], scripts: tuple[str, ...], now: float | None = None, live: Live | None = None
) -> str:
    """The page around studies; ``live`` is given where it is served."""
    title = written[0].name if len(written) == 1 else f"{len(written)} studies"
    return _environment().get_template("page.html").render(
        csp=policy(scripts, live=live is not None), title=title, css=Markup(asset("page.css") + asset("uPlot.min.css")),
        studies=written, scripts=[Markup(asset(name)) for name in scripts], live=live,
        made=time.time() if now is None else now, licence=asset("uPlot.LICENSE"),
    )  # fmt: skip


def listing(studies: list[tuple[str, Path, Facts | None, str]], roots: list[Path]) -> str:
    """The page that lists what is served.

    Args:
        studies: (key, folder, facts or None where it was not read yet, why it cannot be read).
    """
    rows = [
        {
            "key": key,
            "folder": str(folder),
            "error": error,
            "facts": facts,
            "head": words.head(facts) if facts else None,
        }
        for key, folder, facts, error in studies
    ]
    return _environment().get_template("list.html").render(
        csp=policy(LISTING, live=True), css=Markup(asset("page.css")), rows=rows, roots=[str(root) for root in roots],
        scripts=[Markup(asset(name)) for name in LISTING],
    )  # fmt: skip


def study_html(facts: Facts, prefix: str) -> Written:
    parts = [Part(section.name, section.title, part_html(facts, section, prefix)) for section in SECTIONS]
    return Written(prefix, facts.study.name, words.head(facts), parts, data_json(facts))


def part_html(facts: Facts, section: Section, prefix: str, draw: Any = None) -> Markup:
    """One section.

    Args:
        draw: figures by name; by default they are drawn now.
    """
    content = section.content(facts, draw or drawn(facts, prefix))
    template = _environment().get_template(f"sections/{section.name}.html")
    return Markup(template.render(content, facts=facts, id=prefix, title=section.title))


def data(facts: Facts) -> dict[str, Any]:
    """What the page's script sorts, filters and opens."""
    both = tables(facts)
    metric = facts.study.declared.metric
    return {
        "metric": metric.words,
        "tables": [_table(table) for table in both],
        "stratum": facts.study.declared.stratum or "",
        "runs": details(facts, [row["id"] for row in order(both[0])]),
    }


def _table(table: Table) -> dict[str, Any]:
    """Rows as lists, without the names of their fields a thousand times."""
    fields = [*(column.key for column in table.columns), "stratum", "flags", "at"]
    return {
        "name": table.name, "title": table.title, "higher": table.higher,
        "columns": [[column.key, column.label, column.kind, column.digits, column.title] for column in table.columns],
        "fields": fields, "rows": [[row.get(name) for name in fields] for row in order(table)],
    }  # fmt: skip


def data_json(facts: Facts) -> Markup:
    """As text that ends no script element early."""
    text = json.dumps(_finite(data(facts)), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return Markup("".join(escapes.get(letter, letter) for letter in text))


def policy(scripts: tuple[str, ...], live: bool) -> str:
    """Nothing may be fetched, and only our own scripts run."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(asset(name).encode()).digest()).decode()}'" for name in scripts
    )
    connect = " connect-src 'self';" if live else ""
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:;{connect} base-uri 'none';"
        " form-action 'none'"
    )


@cache
def asset(name: str) -> str:
    """A file of ``assets`` as it stands in the page: our scripts without indentation and comments."""
    text = (files("analysis.page") / "assets" / name).read_text(encoding="utf-8")
    ours = name.endswith(".js") and not name.startswith("uPlot")
    return re.sub(r"(?<=[{;,(\[])\n", "", re.sub(r"(?m)^ +|^//.*\n", "", text)) if ours else text


@cache
def _environment() -> Environment:
    made = Environment(loader=PackageLoader("analysis.page"), autoescape=True, undefined=StrictUndefined)
    made.trim_blocks = made.lstrip_blocks = True
    made.filters["clock"] = _clock
    return made


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
