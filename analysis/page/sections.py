"""What stands on the page, in the order of the questions a reader has. A section is a name, a title, and what its
template ``templates/sections/<name>.html`` is given; see the README for how to add one."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from analysis.page.arms_table import arms_table
from analysis.page.facts import Facts
from analysis.page.figures import FIGURES
from analysis.page.forest import PRIMARY, axis, forest, scale_words
from analysis.page.gates import gate_lines
from analysis.page.health import health
from analysis.page.records import files
from analysis.page.rows import order, shown, tables
from analysis.page.trust import trust
from analysis.page.words import head, resume
from analysis.rendering.decimals import decimals
from analysis.rendering.render import sheets
from analysis.sentences.bill import costs
from analysis.sentences.caveats import caveats
from analysis.sentences.pareto import two_objectives
from analysis.sentences.searched import missing, searched
from analysis.sentences.verdict import sentences
from analysis.statistics.family import PENDING

ROWS = 200
"""Rows of trials and runs that are in the page without a script."""
Draw = Callable[[str], Any]
"""A figure by its name in ``FIGURES``, as HTML."""


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        name: of its template and of its id.
        title: its heading; "" for the first screen, which has its own.
        content: (facts, draw) -> what the template is given.
    """

    name: str
    title: str
    content: Callable[[Facts, Draw], dict[str, Any]]


def _top(facts: Facts, draw: Draw) -> dict[str, Any]:
    return {
        "head": head(facts),
        "touched": facts.touched,
        "question": facts.study.declared.question or facts.study.name,
        "forest": forest(facts),
        "more": max(0, len(facts.study.declared.contrasts) - PRIMARY),
        "axis": axis(facts),
        "scale": scale_words(facts) if facts.study.declared.contrasts else "",
        "health": health(facts),
    }


def _arms(facts: Facts, draw: Draw) -> dict[str, Any]:
    return {
        "groups": arms_table(facts),
        "sheets": sheets(facts.table, facts.found, facts.confirmed, facts.study.declared),
        "empty": _nothing("arm has been compared"),
    }


def _curves(facts: Facts, draw: Draw) -> dict[str, Any]:
    return {"figures": [draw("curves")]}


def _search(facts: Facts, draw: Draw) -> dict[str, Any]:
    if not facts.study.info.get("num_trials") and facts.study.search.empty:
        return {"said": ["Nothing was searched: the arms were given."], "figures": []}
    names = ["search", "rungs", "importance", *(["objectives"] if two_objectives(facts.study) else [])]
    said = [*searched(facts.study)] if len(facts.study.search) else [_nothing("trial has started")]
    return {"said": said, "figures": [draw(name) for name in names]}


def _runs(facts: Facts, draw: Draw) -> dict[str, Any]:
    both = tables(facts)
    return {
        "tables": [(table, order(table)[:ROWS]) for table in both],
        "cell": shown,
        "empty": _nothing("trial or run has started"),
    }


def _health(facts: Facts, draw: Draw) -> dict[str, Any]:
    return {"figures": [draw("ranks")], "gates": gate_lines(facts), "gate": facts.study.info.get("gate")}


def _cost(facts: Facts, draw: Draw) -> dict[str, Any]:
    return {"said": costs(facts.study, facts.table, facts.spent), "figures": [draw("attempts")]}


def _trust(facts: Facts, draw: Draw) -> dict[str, Any]:
    rows = trust(facts)
    said = caveats(facts.study, facts.table, facts.found)
    return {"rows": rows, "said": [one for one in said if one not in dict(rows).values()]}


def _again(facts: Facts, draw: Draw) -> dict[str, Any]:
    folder = shlex.quote(str(facts.study.folder))
    commands = [
        ("Start, continue, or print again", resume(facts)),
        ("Every table and sentence", f"python -m analysis {folder} --full"),
        ("This page again", f"python -m analysis report {folder}"),
        ("This page while the study runs", f"python -m analysis live {folder}"),
    ]
    if (facts.study.folder / "optuna.db").is_file():
        commands.append(("The search in optuna-dashboard", f"optuna-dashboard sqlite:///{folder}/optuna.db"))
    if facts.study.info.get("tensorboard"):
        commands.append(("Any scalar in TensorBoard", f"tensorboard --logdir {folder}/runs"))
    return {"commands": commands, "files": files(facts.study.folder)}


def _numbers(facts: Facts, draw: Draw) -> dict[str, Any]:
    early = (facts.found["verdict"] == PENDING).any()
    # with runs still open the sentences on contrasts would hold words that the page does not give yet
    said = missing(facts.study, facts.spent) if early else sentences(facts.study, facts.table, facts.spent)
    elsewhere = {*searched(facts.study), *caveats(facts.study, facts.table, facts.found)}
    said = [sentence for sentence in said if sentence not in elsewhere]
    return {"said": said, "metric": facts.study.declared.metric, "digits": decimals(facts.study.declared.metric.name)}


def _nothing(what: str) -> str:
    return f"No {what} yet."


SECTIONS = (
    Section("top", "", _top),
    Section("arms", "Arms", _arms),
    Section("curves", "Curves", _curves),
    Section("search", "Search", _search),
    Section("runs", "Trials and runs", _runs),
    Section("health", "Health and gates", _health),
    Section("cost", "Cost and time", _cost),
    Section("trust", "Trust", _trust),
    Section("again", "Re-run and files", _again),
    Section("numbers", "How the numbers are made", _numbers),
)


def drawn(facts: Facts, prefix: str) -> Draw:
    """Figures by name, with ids of the study's own."""
    return lambda name: FIGURES[name].html(facts, f"{prefix}-{name}")
