"""The first screen in words: state, answer, what is healthy, what it cost, and what to do next."""

from __future__ import annotations

import ast
import math
import shlex
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.page.facts import Facts
from analysis.page.health import shown_controls
from analysis.page.progress import COMPLETE, EMPTY, INTERRUPTED, OUT_OF_BUDGET, RUNNING
from analysis.recorded.study import values
from analysis.rendering.decimals import decimals
from analysis.rendering.render import duration, interval, money, number, smallest
from analysis.sentences.claims import unresolved
from analysis.sentences.controls import UNNOTICED
from analysis.sentences.edge import edge
from analysis.statistics.differences import SAME_ARM
from analysis.statistics.family import BETTER, DIVERGED, NO_VERDICT, NOT_RESOLVED, PENDING, WORSE
from analysis.statistics.paired import MIN_SEEDS
from trainer.record.resolvable import MOST_SEEDS

MOST = 4
"""Contrasts that a sentence names; the table below it has the others."""


@dataclass(frozen=True)
class Step:
    """What to do next: a sentence and, where there is one, the command."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Head:
    """The first screen.

    Attributes:
        counts: what has ended of what is planned, and what is left.
        answer: at most two sentences.
    """

    state: str
    counts: str
    answer: list[str]
    cost: str
    next: Step = field(default_factory=lambda: Step(""))


def head(facts: Facts) -> Head:
    return Head(facts.progress.state, _counts(facts), answer(facts), cost_line(facts), next_step(facts))


def _counts(facts: Facts) -> str:
    at = facts.progress
    parts = [f"{at.trials}/{at.trials_planned} trials"] if at.trials_planned else []
    parts += [f"{at.runs}/{at.runs_planned} runs compared"] if at.runs_planned else []
    parts += [f"about {duration(at.seconds_left)} left"] if math.isfinite(at.seconds_left) else []
    return ", ".join(parts)


def answer(facts: Facts) -> list[str]:
    """What the study says so far, in at most two sentences; the words are those of the adjusted decisions."""
    study, at = facts.study, facts.progress
    if at.state == EMPTY:
        return ["Nothing has started, so nothing is known."]
    if (said := _all_missing(facts)) is not None:
        return [said]
    asked = study.declared.contrasts
    if facts.primary.empty:
        if asked:
            done = f"{at.trials} of {at.trials_planned} trials have ended" if at.trials_planned else "The runs are open"
            return [f"Not yet known: {done}; no comparison yet."]
        return ["No contrast was declared before the data, so there is no verdict; intervals are exploratory."]
    decided, rest = [], []
    for word, title in ((BETTER, "Better"), (WORSE, "Worse")):
        lines = facts.primary[facts.primary["verdict"] == word]
        if len(lines):
            decided.append(f"{title}: {_listed([_measured(facts, line) for _, line in lines.iterrows()])}")
    known = facts.primary["n"] > 0
    for lines, title in (
        (facts.primary[known & (facts.primary["verdict"] == NOT_RESOLVED)], "Not resolved"),
        (facts.primary[facts.primary["verdict"] == DIVERGED], "No verdict, as runs of the arm ahead diverged"),
        (facts.primary[known & facts.primary["verdict"].isin([NO_VERDICT, PENDING])], "Not yet known"),
        (facts.primary[~known & (facts.primary["verdict"] != SAME_ARM)], "No pair of seeds with values yet"),
        (facts.primary[facts.primary["verdict"] == SAME_ARM], "No answer, as the search chose the reference itself"),
    ):
        if len(lines):
            title, lacks = _shared(facts, title, lines)
            rest.append(f"{title}: {_listed([_measured(facts, line, lacks) for _, line in lines.iterrows()])}")
    if facts.absent:
        rest.append(f"{'Not' if rest else 'Not yet'} compared: {_listed(facts.absent)}")
    return [f"{'; '.join(_lowered(parts))}." for parts in (decided, rest) if parts]


def _lowered(parts: list[str]) -> list[str]:
    return [parts[0], *(part[0].lower() + part[1:] for part in parts[1:])]


def _listed(parts: list[str]) -> str:
    more = f"; and {len(parts) - MOST} more" if len(parts) > MOST else ""
    return "; ".join(parts[:MOST]) + more


def _shared(facts: Facts, title: str, lines: pd.DataFrame) -> tuple[str, bool]:
    """What all of several open contrasts lack is said once; returns the title and whether it says it."""
    lacks = {_lacks(facts, line) for _, line in lines.iterrows()}
    if len(lacks) == 1 and (one := lacks.pop()):
        return f"{title} ({one})", True
    return title, False


def _lacks(facts: Facts, line: pd.Series) -> str:
    """``n = 2, 3 needed`` of a contrast without a verdict; "" of any other."""
    if line["verdict"] not in (NO_VERDICT, PENDING) or not line["n"]:
        return ""
    wanted = max(MIN_SEEDS, planned_pairs(facts, line)) if line["verdict"] == PENDING else MIN_SEEDS
    return f"n = {line['n']}, {wanted} needed"


def _measured(facts: Facts, line: pd.Series, said: bool = False) -> str:
    """A contrast with its difference, n and what it lacks, unless that is ``said``."""
    digits, question = decimals(line["metric"]), line["question"]
    if line["verdict"] == SAME_ARM or not line["n"]:
        return question
    unit = unit_of(facts, question)
    if line["verdict"] in (NO_VERDICT, PENDING):
        lacks = "" if said else f" ({_lacks(facts, line)})"
        return f"{question} {number(line['mean'], digits, True)}{unit}{lacks}"
    value = interval(line["mean"], line["adjusted_low"], line["adjusted_high"], digits)
    return f"{question} {value}{unit}, n = {line['n']}"


def planned_pairs(facts: Facts, line: pd.Series) -> int:
    return len(facts.study.arms.runs[line["arm_id"], line["role"]])


def unit_of(facts: Facts, question: str) -> str:
    """A contrast's unit as a difference has it: `` points``, or nothing."""
    unit = next((one.unit for one in facts.study.declared.contrasts if one.question == question), "")
    return " points" if unit == "percent" else f" {unit}" if unit else ""


def _all_missing(facts: Facts) -> str | None:
    """Said where runs were measured, and none of them ever gave the study's metric after its start."""
    curves = facts.study.curves
    trained = curves[curves["epoch"] > 0] if len(curves) else curves
    if trained.empty:
        return None
    score = values(trained, facts.study.declared.metric.name)
    # metrics are measured at some epochs; that a run has none yet is no fault of it
    measured = trained.drop(columns=["seed", "epoch", "probe_epoch", "views"]).select_dtypes("number")
    measured = measured[[name for name in measured if "/" in name]]
    if score.notna().any() or measured.notna().any(axis=None):
        return None
    runs = trained.groupby("run_id")["epoch"].min()
    return f"No run gave a number: {len(runs)} of {len(runs)} NaN since epoch {int(runs.min())}."


def cost_line(facts: Facts) -> str:
    """``0.03 core-hours (search 31 %, 0 attempts lost)``."""
    spent = facts.spent
    if not spent.known:
        return "none so far" if facts.progress.state == EMPTY else "unknown: recorded before times were noted"
    total = spent.runs["device_seconds"].sum()
    so_far = "" if facts.progress.whole else " so far"
    if spent.device is None:
        return f"{duration(spent.wall_seconds)}{so_far}; GPUs and cores are not added up"
    search = spent.runs.loc[spent.runs["trial"].notna(), "device_seconds"].sum()
    share = f"search {100 * search / total:.0f} %, " if total and facts.progress.trials_planned else ""
    lost = sum(spent.lost.values())
    usd = f", {money(spent.usd)} USD" if spent.priced else ""
    hours = f"{total / 3600:.2g} {spent.device}-hours{usd} in {duration(spent.wall_seconds)}{so_far}"
    return f"{hours} ({share}{lost} attempt{'' if lost == 1 else 's'} lost)"


def next_step(facts: Facts) -> Step:
    """The first of: a fault, what is not finished, an optimum at the edge, what is not resolved, the test split."""
    at = facts.progress
    again = resume(facts)
    if at.state == EMPTY:
        return Step("Start it:", again)
    wrong = [line for line in shown_controls(facts) if not line.good]
    if wrong:
        return Step(f"Look at the control first: {wrong[0].text}, {UNNOTICED}.")
    if at.state == RUNNING:
        return Step("Nothing: it is running.")
    if at.state in (INTERRUPTED, OUT_OF_BUDGET):
        raised = ", with a larger budget" if at.state == OUT_OF_BUDGET else ""
        return Step(f"Continue it{raised}:", again)
    if at.state != COMPLETE or facts.primary.empty:
        return Step("")
    if edge := at_an_edge(facts):
        return Step(edge)
    open_ = facts.primary[facts.primary["verdict"].isin([NOT_RESOLVED, NO_VERDICT])]
    if len(open_):
        return _more_seeds(facts, open_)
    if (facts.primary["verdict"] == DIVERGED).any():
        return Step("The arm that is ahead has runs that diverged: compare settings which do not.")
    seeds = sorted({int(seed) for seed in facts.study.finals["seed"]})  # none of which served a search
    runs = " ".join(f"{shlex.quote(str(facts.study.folder))}/runs/*-s{seed}" for seed in seeds)
    return Step(
        "Resolved on validation. Measure the compared runs once on test images:",
        f'for run in {runs}; do python -m trainer.evaluate --checkpoint "$run" --split test; done',
    )


def _more_seeds(facts: Facts, lines: pd.DataFrame) -> Step:
    """How many seeds, what they would cost, and what can be resolved now."""
    few = lines[lines["verdict"] == NO_VERDICT]
    now = max(planned_pairs(facts, line) for _, line in lines.iterrows())
    known = [int(seeds) for seeds in lines["seeds_needed"].dropna() if seeds <= MOST_SEEDS]
    wanted = max(MIN_SEEDS, now + 1, min(known, default=0))
    if (len(few) == 0 and not known) or wanted > MOST_SEEDS:
        line = lines.iloc[0]
        return Step(f"{line['question']}: {unresolved(line)}; no affordable number of seeds would resolve it.")
    runs = facts.spent.runs[facts.spent.runs["trial"].isna() & ~facts.spent.runs["name"].isin(facts.study.beside)]
    per_seed = runs["device_seconds"].sum() / now if now and facts.spent.known else float("nan")
    price = (
        f", about {(wanted - now) * per_seed / 3600:.2g} more {facts.spent.device}-hours"
        if math.isfinite(per_seed) and facts.spent.device and per_seed > 0
        else ""
    )
    metric = lines["metric"].iloc[0]  # sizes of unlike metrics have no order
    able = lines.loc[lines["metric"] == metric, "resolvable"].dropna()
    least = f"; {smallest(able.min(), decimals(metric))} is the smallest resolvable now" if len(able) else ""
    text = f"{wanted} seeds instead of {now}{price}{least}"
    return Step(f"{text}: as a study of its own,", _with_seeds(facts, wanted))


def at_an_edge(facts: Facts) -> str:
    """Which chosen arm stands at an end of what was tried of the searched number."""
    for key in facts.study.arms.ordered:
        if end := edge(facts.study, key):
            way, _, symbol = end.partition(" ")
            beyond = {"largest": "larger", "smallest": "smaller"}[way]
            return f"Try {beyond} {symbol}: {facts.names[key]} is the {end} tried."
    return ""


def _with_seeds(facts: Facts, seeds: int) -> str:
    """The study's command with more seeds, under another name: a study keeps the seeds that it was registered with."""
    name = f"{facts.study.name}_{seeds}_seeds"
    if facts.study.command.startswith("study.run("):
        return _call_with(facts.study.command, seeds=seeds, study=name)
    kept, words = [], shlex.split(resume(facts)) if facts.study.command else [_UNKNOWN]
    skip = False
    for word in words:
        option = word.partition("=")[0]
        if not skip and option not in (*_REPLACED, "--resume"):
            kept.append(word)
        skip = not skip and option in _REPLACED and "=" not in word
    more = ["--seeds", str(seeds), "--study", name]
    return f"{shlex.join(kept) if facts.study.command else _UNKNOWN} {shlex.join(more)}"


def _call_with(call: str, **changed: Any) -> str:
    """The same for a study that was started from Python."""
    try:
        found = ast.parse(call, mode="eval").body
    except SyntaxError:  # an argument whose repr is no expression
        return f"study.run({', '.join(f'{name}={value!r}' for name, value in changed.items())}, ...)"
    dropped = {*changed, "resume", "until_resolved"}
    kept = [one for one in found.keywords if one.arg not in dropped]
    found.keywords = [*kept, *(ast.keyword(name, ast.Constant(value)) for name, value in changed.items())]
    return ast.unparse(found)


def resume(facts: Facts) -> str:
    """The command that starts or continues the study, as its last session noted it."""
    return facts.study.command or f"{_UNKNOWN} --resume"


_UNKNOWN = "(the command that started it)"
_REPLACED = ("--seeds", "--study", "--until-resolved")
