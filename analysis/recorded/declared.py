"""What a study declared before its data, as study.json has it: its question, its primary contrasts, and what its arms
are.

Studies begun before declarations were complete get what was then fixed for their kind (``earlier/``): a search, or arms
that were given. Those files are records: they hold what the two studies of that time declare (a test compares them).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.errors import UsageError

LINACC = "linacc/z_agg@M"
KINDS = ("best", "reference", "candidate", "grid", "control", "untrained")
"""What an arm is, in the order of the tables."""
_EARLIER = Path(__file__).parent / "earlier"


@dataclass(frozen=True)
class Contrast:
    """Arm minus reference, given by the keys of the study's arms, in one metric."""

    question: str
    arm: str
    reference: str
    metric: str = LINACC
    asks: str = ""
    words: dict[str, str] = field(default_factory=dict)
    measures: str = "linear accuracy of z_agg"
    unit: str = "percent"
    higher: bool = True


@dataclass(frozen=True)
class Column:
    """A setting of the arms that tables, names and figures show."""

    name: str
    key: str = ""
    symbol: str = ""
    number: bool = False
    title: str = ""


@dataclass(frozen=True)
class Metric:
    name: str = LINACC
    words: str = "linear accuracy of z_agg"
    unit: str = "percent"
    higher: bool = True


@dataclass(frozen=True)
class Declared:
    """See :class:`studies.engine.contrasts.Declaration`, of which this is the reader's half."""

    question: str = ""
    contrasts: tuple[Contrast, ...] = ()
    metric: Metric = Metric()
    stratum: str | None = None
    levels: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    reference: str | None = None
    controls: dict[str, str] = field(default_factory=dict)
    predicts: tuple[int, ...] = ()
    also: tuple[Metric, ...] = ()

    def kind(self, role: str) -> str:
        """One of ``KINDS``."""
        if role == self.reference:
            return "reference"
        return role if role in KINDS else "control" if role in self.controls else "grid"

    @cached_property
    def axis(self) -> Column | None:
        """The first setting that is a number: what figures show scores against."""
        return next((column for column in self.columns if column.number), None)

    def level(self, row: dict[str, Any]) -> str | None:
        """The stratum of an arm or a trial; in a study without strata the one level it has."""
        return row.get(self.stratum) if self.stratum else next(iter(self.levels), "")

    def named(self, row: dict[str, Any]) -> str:
        """The shown settings of an arm or a trial: words alone, numbers and what is on or off with their symbols."""
        return " ".join(filter(None, (self._shown(column, row.get(column.name)) for column in self.columns)))

    def _shown(self, column: Column, value: Any) -> str:
        if value is None or value != value:
            return ""
        text = f"{value:.3g}" if column.number else str(value)
        alone = column.name == self.stratum or not (column.number or text in ("True", "False"))
        return text if alone else f"{column.symbol or column.name}={text}"

    def best(self, level: str | None) -> str:
        """Key of the best arm of a level."""
        return f"best/{level}" if self.stratum else "best"


def declared(info: dict[str, Any], roles: Iterable[str], where: str) -> Declared:
    """The declaration in study.json, completed by what holds for an older study.

    Args:
        info: study.json.
        roles: of the compared arms.
        where: the file, for messages.

    Raises:
        UsageError: the declaration cannot be read.
    """
    noted = info.get("declared")
    try:
        known = noted is not None and (noted["question"], noted["contrasts"])
        if known and "columns" in noted:
            return _read(noted)
        rule = _earlier(info, set(roles))
        if not known:
            return _read(rule)
        of_rule = {one["question"]: one for one in rule["contrasts"]}
        return _read(
            rule | noted | {"contrasts": [of_rule.get(one["question"], {}) | one for one in noted["contrasts"]]}
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f'{where}: "declared" must hold a question and contrasts ({error!r}); restore the file from a copy'
        ) from None


def _read(noted: dict[str, Any]) -> Declared:
    contrasts = tuple(Contrast(**{"metric": one["metric"]} | one) for one in noted["contrasts"])
    columns = tuple(Column(**one) for one in noted.get("columns", ()))
    return Declared(
        str(noted["question"]), contrasts, Metric(**noted.get("metric", {})), noted.get("stratum"),
        tuple(noted.get("levels", ())), columns,
        noted.get("reference"), dict(noted.get("controls", {})), tuple(noted.get("predicts", ())),
        tuple(Metric(**one) for one in noted.get("also", ())),
    )  # fmt: skip


def _earlier(info: dict[str, Any], roles: set[str]) -> dict[str, Any]:
    """The rule of a study that declared nothing, or not all."""
    searched = info.get("confirm") or ()
    keys = {str(arm.get("key")) for arm in info.get("arms") or []}
    if searched or "best" in roles:
        rule = json.loads((_EARLIER / "searched.json").read_text(encoding="utf-8"))
        keys = {
            f"best/{level}{ending}" for level in searched or rule["levels"] for ending in ("", f"/{rule['reference']}")
        }
        return rule | {"contrasts": [one for one in rule["contrasts"] if {one["arm"], one["reference"]} <= keys]}
    rule = json.loads((_EARLIER / "fixed.json").read_text(encoding="utf-8"))
    contrasts = [one for one in rule["contrasts"] if {one["arm"], one["reference"]} <= keys]
    first = {one["question"]: one for one in reversed(contrasts)}  # of several strengths the first that the study has
    contrasts = [one for one in contrasts if first[one["question"]] is one]
    return rule | {"contrasts": contrasts, "question": rule["question"] if contrasts else ""}


def arm_key(line: dict[str, Any], info: dict[str, Any], asked: Declared, twins: dict[str, str]) -> str | None:
    """The key of an arm from its ``compare`` line; older lines hold none.

    Args:
        twins: level of the best arm that refers to a reference, by the reference's id.
    """
    if line.get("key"):
        return str(line["key"])
    role, level = line["role"], asked.level(line)
    for arm in info.get("arms") or []:
        if arm.get("role") == role and arm.get("label") == line.get("label"):
            return str(arm["key"])
    if role == "best":
        return asked.best(level)
    if role == asked.reference:
        return f"{asked.best(twins.get(line['arm_id'], level))}/{role}"
    return asked.best(level).replace("best", f"candidate{line.get('place')}", 1) if role == "candidate" else None
