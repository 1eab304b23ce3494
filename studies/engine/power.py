"""What the seeds of a plan can resolve, said before anything is spent."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from studies.engine.contrasts import Contrast
from studies.engine.earlier_pairs import Earlier, Spread
from studies.engine.plan import Plan
from trainer.record.identity import arm_id
from trainer.record.resolvable import MIN_SEEDS, POWER, detectable, step

GUESS = {"percent": 4.0}
"""S.d. of a paired difference by unit, where no record tells; the digits' contrasts have 2.4 to 6.0 over five seeds."""
_INDENT = " " * 11
_WIDTH = 80 - len(_INDENT)


def power_lines(plan: Plan) -> list[str]:
    """Lines of the dry run, at most 80 columns: the smallest true difference that the plan's seeds resolve with
    ``POWER``, for each primary contrast; [] without one."""
    contrasts, n = plan.declared.contrasts, max(plan.looks)
    if not contrasts:
        return []
    if n < MIN_SEEDS:
        return _laid_out([f"none: a verdict takes at least {MIN_SEEDS} seeds, this study has {n}; raise --seeds"])
    often = f", {len(plan.looks)} looks" if len(plan.looks) > 1 else ""
    over = f", Holm over {len(contrasts)} contrasts" if len(contrasts) > 1 else ""
    earlier = Earlier(plan.folder.parent, plan.preset, plan.epochs, arm_id(plan.base))
    asked: dict[str, list[str]] = {}  # contrasts of which the same is known share their sentence
    for one in contrasts:
        asked.setdefault(_resolves(one, n, len(contrasts), len(plan.looks), earlier), []).append(one.question)
    part = f"in {100 * POWER:.0f} % of studies (paired t test{over}{often})"
    head = f"{n} seeds resolve a true difference of this size {part}:"
    return _laid_out([head, *(f"{'; '.join(questions)}: {said}" for said, questions in asked.items())])


def smallest(sd: float, n: int, contrasts: int, power: float = POWER, looks: int = 1) -> tuple[float, float]:
    """True difference resolved with ``power``, where the contrast is the first that Holm's rule decides, and the
    last."""
    return sd * detectable(n, step(contrasts, looks), power), sd * detectable(n, step(1, looks), power)


def _resolves(one: Contrast, n: int, contrasts: int, looks: int, earlier: Earlier) -> str:
    """What a contrast can resolve, and whence its s.d. is known."""
    found = earlier.spread(one.question, one.metric or "")
    unit = " points" if one.unit == "percent" else f" {one.unit}" if one.unit else ""
    if found is not None:
        return f"{_sizes(found.sd, n, contrasts, looks, unit)}; {_source(found)}"
    what = f"{Path(earlier.preset).stem} with {earlier.epochs} epochs"
    unknown = f"no study of {what} in {earlier.results.name}/ tells"
    guess = GUESS.get(one.unit)
    if guess is None:
        return f"{_sizes(1.0, n, contrasts, looks, ' s.d. of the paired difference')}; {unknown} the s.d."
    return f"{_sizes(guess, n, contrasts, looks, unit)}; s.d. of the paired difference {guess:g}, a GUESS, as {unknown}"


def _sizes(sd: float, n: int, contrasts: int, looks: int, unit: str) -> str:
    first, last = smallest(sd, n, contrasts, looks=looks)
    return f"{_number(first)}{unit}" + (f", {_number(last)} once the others are resolved" if contrasts > 1 else "")


def _source(found: Spread) -> str:
    studies, arms = found.studies, len(found.pairs)
    where = studies[0] if len(studies) == 1 else f"{len(studies)} studies, {studies[0]} the latest"
    what = "the same contrast" if found.same else f"{arms} other {'pair' if arms == 1 else 'pairs'} of arms"
    said = f"s.d. of the paired difference {_number(found.sd)}, from {what} in {where} ({found.seeds} pairs of runs)"
    return said if found.alike else f"{said}, with other settings common to all arms"


def _number(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _laid_out(said: Sequence[str]) -> list[str]:
    """Paragraphs beside their name, those after the first hanging."""
    found = []
    for number, text in enumerate(said):
        found += textwrap.wrap(text, _WIDTH, subsequent_indent="  " if number else "", break_on_hyphens=False)
    return [f"{'power' if number == 0 else '':<{len(_INDENT)}}{line}" for number, line in enumerate(found)]
