"""Whether a stopping rule that a study brings along keeps to the face, asked before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies.engine.stopping.face import GO, STOP, WAIT, Judgement, Rule
from trainer.errors import UsageError, with_kind

VERDICTS = (GO, WAIT, STOP)
TAKES = tuple(Rule.usual)
_TRIED = ((1.0,), (1.0, 2.0), (float("-inf"), 1.0, 1.0, 2.0, 3.0), tuple(map(float, range(12))))


def check(rules: Any, taken: Mapping[str, type[Rule]]) -> None:
    """Refuse what is no rule, or is called like one of ours. Raises UsageError.

    Args:
        rules: what the study declares.
        taken: the rules that there are anyway.
    """
    if not isinstance(rules, Mapping):
        raise UsageError(f"rules {rules!r}: must map the name that --stopping takes to a class, as {{'mine': Mine}}")
    for name, rule in rules.items():
        if not isinstance(name, str) or not name or not name.replace("-", "_").isidentifier():
            raise UsageError(f"rule {name!r}: its name must be a word, as 'mine'")
        if name in taken:
            raise UsageError(f"rule {name!r}: there is a rule of this name already; choose another")
        if not isinstance(rule, type) or not issubclass(rule, Rule):
            raise UsageError(f"rule {name!r}: is {rule!r}, but must be a subclass of studies.Rule (the class itself)")
        if left := getattr(rule, "__abstractmethods__", None):
            raise UsageError(f"rule {name!r}: does not say {', '.join(sorted(left))}; define it")
        if unknown := next((one for one in rule.takes if one not in TAKES), None):
            raise UsageError(f"rule {name!r}: takes {unknown!r}, but can only take {', '.join(TAKES)}")


def tried(name: str, make: Any) -> Rule:
    """The rule, after it was asked about a few rungs. Raises UsageError for one that answers what no study can do."""
    try:
        rule = make()
        rungs, brackets = rule.rungs, rule.brackets
        share, _ = float(rule.share), str(rule.standard)
        turns = [rule.bracket(number) for number in range(12)]
    except UsageError:
        raise
    except Exception as error:  # whatever its author's code raises
        raise UsageError(f"rule {name!r}: {with_kind(error)}, before any trial was judged; correct it") from None
    whole = isinstance(rungs, tuple | list) and all(type(rung) is int for rung in rungs)
    if not whole or list(rungs) != sorted(set(rungs)) or not all(1 <= rung < rule.epochs for rung in rungs):
        raise UsageError(
            f"rule {name!r}: judges at {rungs!r}, but must name different epochs from 1 to {rule.epochs - 1}, ascending"
        )
    if not all(type(turn) is int and 0 <= turn < brackets for turn in turns):
        raise UsageError(f"rule {name!r}: puts trials in brackets {turns}, but there are {brackets}, from 0 on")
    if not 0 <= share <= 1:
        raise UsageError(f"rule {name!r}: its share is {share:g}, but must be 0 to 1")
    for ranked in _TRIED if rungs else ():
        for place in range(1, len(ranked) + 1):
            for to_come in (2, 0):
                asked(rule, list(ranked), ranked[-place], place, to_come, name)
    return rule


def asked(rule: Rule, ranked: list[float], own: float, place: int, to_come: int, name: str = "") -> Judgement:
    """What the rule says of a trial. Raises UsageError for what is no answer."""
    what = f"rule {name or type(rule).__name__!r}"
    where = f"of a trial in place {place} of {len(ranked)} with {to_come} to come"
    try:
        judged = rule.judge(ranked, own, place, to_come)
        verdict, cutoff = judged.verdict, judged.cutoff
    except Exception as error:  # whatever its author's code raises
        raise UsageError(f"{what}: {with_kind(error)}, asked {where}; correct it") from None
    if verdict not in VERDICTS or not (cutoff is None or isinstance(cutoff, int | float)):
        raise UsageError(f"{what}: says {judged!r} {where}; it must say go, wait or stop, and a number or None")
    if verdict == WAIT and not rule.waits:
        raise UsageError(f"{what}: says wait {where}, but is declared with waits = False; set it, or say go or stop")
    if verdict == WAIT and not to_come:
        raise UsageError(f"{what}: says wait {where}, which would be for ever; it must say go or stop")
    return judged
