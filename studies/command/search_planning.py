"""How a study searches and whom it stops, from the options of a command. No torch, no ray."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from studies.command.search_options import LAG, OBJECTIVES
from studies.engine.choosing import RULES as CHOICES
from studies.engine.folder import BEFORE
from studies.engine.question import Question
from studies.engine.settings import ON_RECORD, SearchPlan, Stopping
from studies.engine.stopping import RULES, own
from trainer.errors import UsageError

RACE = 1
RULE, IN_ORDER = "asha", "gate"
"""The usual stopping rules, the second with --deterministic. Gates give up less on all four recorded sets, but on the
one recorded to judge them the interval over arms touches 0 (replay/README.md)."""


def searching(o: Namespace, study: Question, before: dict | None) -> SearchPlan:
    """The search: sampler, objectives, race, and what it takes over.

    Args:
        before: what the study, if it was begun, has on record of it.

    Raises:
        UsageError: an option that is wrong, or has no effect beside another.
    """
    objectives = tuple(word.strip() for word in o.objectives.split(","))
    if objectives[0] != "linacc" or len(set(objectives)) != len(objectives) or not set(objectives) <= set(OBJECTIVES):
        raise UsageError(
            f"--objectives {o.objectives!r}: linacc, by which trials are stopped and ranked, or {','.join(OBJECTIVES)}"
        )
    if o.lag is not None and not o.deterministic:
        raise UsageError(f"--lag {o.lag}: is only valid with --deterministic")
    if o.lag is not None and o.lag < 2:
        raise UsageError(f"--lag {o.lag}: must be at least 2; with 1 the search would run one trial at a time")
    usual = {"top_k": 1 if o.quick else 3, "race": RACE, "seed": None, "choose": CHOICES[0]}
    if before is not None:  # whatever it lacks, the comparison of the two plans says
        usual |= {**BEFORE, **before}
    top_k = o.top_k if o.top_k is not None else usual["top_k"]
    race = o.race if o.race is not None else usual["race"]
    seed = o.search_seed if o.search_seed is not None else usual["seed"]
    if not 1 <= top_k <= 20:
        raise UsageError(f"--top-k {top_k}: must be 1 to 20")
    if not 0 <= race <= 20:
        raise UsageError(f"--race {race}: must be 0 (no race) to 20 seeds")
    if o.race and top_k == 1 and "race" not in _defaults(o, study):
        raise UsageError(f"--race {race}: nobody runs against a single arm; give --top-k 2 or more, or no --race")
    if seed is not None and not 0 <= seed < 2**31:
        raise UsageError(f"--search-seed {seed}: must be 0 to {2**31 - 1}")
    lag = (o.lag or LAG) if o.deterministic else 0
    choose = o.choose if o.choose is not None else usual["choose"]
    if choose == "smoothed" and len(objectives) > 1:
        raise UsageError(f"--choose smoothed: smooths one score, not {o.objectives}; leave out one of the two options")
    earlier = tuple(str(Path(folder).absolute()) for folder in o.warm_start)
    return SearchPlan(o.sampler, objectives, top_k, lag, earlier, race, seed, not o.no_verdict, choose)


def stopping(o: Namespace, study: Question, epochs: int, before: dict | None) -> Stopping:
    """The stopping rule.

    Args:
        before: what the study, if it was begun, has on record of it: what no option says stays as it is.
    """
    name, given = _rule(o, study, before), {}
    make = study.rules.get(name) or RULES[name]
    usual = _defaults(o, study)
    same = before is not None and ON_RECORD.get(name, name) == before.get("rule")
    for option in ("grace", "eta", "brackets"):
        value = getattr(o, option)
        if value is not None and option not in make.takes:
            if value != usual.get(option):
                raise UsageError(f"--{option} {value}: has no effect with --stopping {name}; remove one of them")
            value = None  # the study's own default, for rules that heed it
        if value is None and same and option in make.takes:
            value = before.get(option)
        if value is not None:
            given[option] = value
    for option in ("collapse_rank", "one_bracket") if name == "none" and before is None else ():
        if getattr(o, option, None) and option not in usual:
            raise UsageError(f"--{option.replace('_', '-')}: has no effect with --stopping none; remove one of them")
    for option, least in (("grace", 1), ("eta", 2), ("brackets", 1)):
        if given.get(option, least) < least:
            raise UsageError(f"--{option} {given[option]}: must be at least {least}")
    if o.collapse_rank is not None and not 0 <= o.collapse_rank < 1e6:
        raise UsageError(f"--collapse-rank {o.collapse_rank:g}: must be 0 (never) or positive")
    floor = (
        0.0
        if name == "none"
        else before.get("collapse_rank", Stopping.collapse_rank)
        if same
        else Stopping.collapse_rank
    )
    floor = floor if o.collapse_rank is None or name == "none" else o.collapse_rank
    together = getattr(o, "one_bracket", False) or (same and before.get("together", False))
    planned = Stopping(name, **given, collapse_rank=floor, together=together, own=study.rules.get(name))
    rule = planned.over(epochs) if planned.own is None else own.tried(name, lambda: planned.over(epochs))
    if "grace" in given and o.grace is not None and not rule.rungs:
        raise UsageError(
            f"--grace {rule.grace}: no rung lies in the first half of {epochs} epochs; give at most {epochs // 2}, or"
            " --stopping none"
        )
    if rule.brackets > max(1, len(rule.rungs)):
        rungs = ", ".join(map(str, rule.rungs)) or "none"
        raise UsageError(
            f"--brackets {rule.brackets}: at most one for each of the {len(rule.rungs)} rungs (at epochs: {rungs})"
        )
    return planned


def nothing_after(o: Namespace, study: Question) -> None:
    """Raise UsageError for what is about runs after the search where there are none; a study's own defaults stay."""
    usual = _defaults(o, study)
    for name in ("seeds", "until_resolved", "race", "top_k"):
        if getattr(o, name) and name not in usual:
            raise UsageError(
                f"--no-verdict: nothing runs after the search, so --{name.replace('_', '-')} has no effect;"
                " remove one of them"
            )


def _defaults(o: Namespace, study: Question) -> dict[str, Any]:
    """The study's own defaults, which are no options that somebody gave: where they have no effect they are passed
    over."""
    return {**study.defaults, **(study.quick if o.quick else {})}


def _rule(o: Namespace, study: Question, before: dict | None) -> str:
    """The name of the stopping rule."""
    if o.stopping is None:
        names = {ON_RECORD.get(name, name): name for name in (*RULES, *study.rules)}
        begun = names.get(before.get("rule")) if before is not None else None
        return begun or (IN_ORDER if o.deterministic else RULE)
    make = study.rules.get(o.stopping) or RULES[o.stopping]
    if o.deterministic and not make.in_order:
        able = ", ".join(name for name, rule in {**RULES, **study.rules}.items() if rule.in_order)
        raise UsageError(
            f"--stopping {o.stopping}: decides by who arrives first, which --deterministic excludes; take one of {able}"
        )
    return o.stopping
