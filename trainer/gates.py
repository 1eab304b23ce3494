"""Go/no-go verdicts from a run's own records. What is missing or not finite fails."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from trainer import families
from trainer.config import RunConfig
from trainer.errors import UsageError


@dataclass(frozen=True)
class Verdict:
    """The outcome of one gate.

    Attributes:
        reasons: one line per rule, each starting with ``ok`` or ``FAIL``.
    """

    gate: str
    passed: bool
    reasons: list[str]


def judge(config: RunConfig, gate: str, lines: Iterable[dict[str, Any]]) -> Verdict:
    """Judge a gate of the configuration on the validation records of its epoch.

    Raises:
        UsageError: the configuration has no such gate.
    """
    if gate not in config.gates:
        raise UsageError(f"gate = {gate!r}: must be one of {', '.join(config.gates) or '(this preset has none)'}")
    rule, named = config.gates[gate], families.headline(config)
    by_epoch = {
        line["epoch"]: line["metrics"]
        for line in lines
        if line["event"] == "eval" and line["split"] == config.data.select_on
    }
    start, end = by_epoch.get(0, {}), by_epoch.get(rule.epoch, {})
    # a metric that the family has not is missing, and fails
    score, rank = named["score"], named.get("rank")
    checks = [
        ("linacc", end.get(score), ">=", rule.linacc_min),
        ("linacc above untrained", _minus(end, start, score), ">=", rule.linacc_gain_min),
        ("rank of z_agg / untrained", _ratio(end, start, rank), ">=", rule.rank_agg_ratio_min),
        ("rank of z_agg", end.get(rank), ">=", rule.rank_agg_min),
        ("rank of z", end.get(named.get("rank_z")), ">=", rule.rank_z_min),
        ("R2 of actions", end.get(named.get("r2_action")), ">=", rule.r2_action_min),
        ("prediction loss", end.get(named.get("predict")), "<=", rule.predict_max),
    ]
    reasons, passed = [], True
    if not end:
        reasons.append(f"FAIL no record of epoch {rule.epoch}, where {gate} is judged")
        passed = False
    for name, value, relation, bound in checks:
        if bound is None:
            continue
        good = value is not None and math.isfinite(value) and (value >= bound if relation == ">=" else value <= bound)
        shown = "missing or not finite" if value is None or not math.isfinite(value) else f"{value:.3g}"
        reasons.append(f"{'ok  ' if good else 'FAIL'} {name}: {shown}, must be {relation} {bound:g}")
        passed = passed and good
    return Verdict(gate, passed, reasons)


def latest(config: RunConfig) -> str | None:
    """The latest gate that the run reaches."""
    reached = [name for name, gate in config.gates.items() if gate.epoch <= config.epochs]
    return max(reached, key=lambda name: config.gates[name].epoch, default=None)


def _minus(end: dict[str, Any], start: dict[str, Any], name: str | None) -> float | None:
    a, b = end.get(name), start.get(name)
    return None if a is None or b is None else a - b


def _ratio(end: dict[str, Any], start: dict[str, Any], name: str | None) -> float | None:
    a, b = end.get(name), start.get(name)
    return None if a is None or not b else a / b
