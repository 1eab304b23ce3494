"""What a study declared before its data: its question and the primary contrasts, which alone get verdict words.

Studies recorded before declarations were noted get the rule of their kind: ``legacy`` below is what
``studies/step2_rate.py`` and ``studies/step2_grid.py`` declare (a test compares them).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import Any

from trainer.errors import UsageError

_SCHEDULES, _TEACHERS = ("cosine", "constant"), ("stopgrad", "ema")
_PRIMARY = 0.03
_LINACC = "linacc/z_agg@M"


@dataclass(frozen=True)
class Contrast:
    """Arm minus reference, given by the keys of the study's arms, in a metric of which more is better."""

    question: str
    arm: str
    reference: str
    metric: str = _LINACC


@dataclass(frozen=True)
class Declared:
    question: str = ""
    contrasts: tuple[Contrast, ...] = ()


def declared(info: dict[str, Any], roles: Iterable[str], where: str) -> Declared:
    """The declaration in study.json, or what holds for an older study.

    Args:
        info: study.json.
        roles: of the compared arms.
        where: the file, for messages.

    Raises:
        UsageError: the declaration cannot be read.
    """
    noted = info.get("declared")
    if noted is None:
        return legacy({str(arm.get("key")): str(arm.get("role")) for arm in info.get("arms") or []}, set(roles), tuple(info.get("confirm") or ()))
    try:
        contrasts = tuple(Contrast(one["question"], one["arm"], one["reference"], one["metric"]) for one in noted["contrasts"])
        return Declared(str(noted["question"]), contrasts)
    except (TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{where}: \"declared\" must hold a question and contrasts ({error!r}); restore the file from a copy") from None


def legacy(keys: dict[str, str], roles: set[str], searched: tuple[str, ...]) -> Declared:
    """The rule of a study of step 2 that declared nothing.

    Args:
        keys: roles of the arms known before the search, by key.
        roles: of the compared arms.
        searched: teachers whose best arms the search chooses, () without a search.
    """
    if searched or "best" in roles:
        teachers = searched or _TEACHERS
        rate = [Contrast(f"coding rate, {name}", f"best/{name}", f"best/{name}/lambda0") for name in teachers]
        question = "Does the coding rate repair collapse, how strong must it be, and is the EMA teacher still needed?"
        both = [Contrast("ema minus stopgrad", "best/ema", "best/stopgrad")] if {*_TEACHERS} <= {*teachers} else []
        return Declared(question, (*rate, *both))
    grid = [key.split("/") for key, role in keys.items() if role == "grid"]
    if not grid or any(len(parts) != 3 for parts in grid):
        return Declared()
    weights = {float(weight) for _, _, weight in grid}
    w = f"{_PRIMARY if _PRIMARY in weights else max(weights):g}"
    rate = [Contrast(f"coding rate, {t} {s}", f"{t}/{s}/{w}", f"{t}/{s}/0") for t, s in product(_TEACHERS, _SCHEDULES)]
    peers = [Contrast(f"ema minus stopgrad, {s}", f"ema/{s}/{w}", f"stopgrad/{s}/{w}") for s in _SCHEDULES]
    return Declared("Does the coding rate help, and is the EMA teacher needed, with everything else equal?", (*rate, *peers))


def arm_key(line: dict[str, Any], info: dict[str, Any], twins: dict[str, str]) -> str | None:
    """The key of an arm from its ``compare`` line; older lines hold none.

    Args:
        twins: teacher of the best arm that refers to a lambda-0 arm, by that arm's id.
    """
    if line.get("key"):
        return str(line["key"])
    role, teacher = line["role"], line.get("teacher")
    for arm in info.get("arms") or []:
        if arm.get("role") == role and arm.get("label") == line.get("label"):
            return str(arm["key"])
    if role == "best":
        return f"best/{teacher}"
    if role == "lambda0":
        return f"best/{twins.get(line['arm_id'], teacher)}/lambda0"
    return f"candidate{line.get('place')}/{teacher}" if role == "candidate" else None
