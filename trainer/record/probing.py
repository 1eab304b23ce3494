"""In which variant the numbers of a run were measured: settings of ``eval`` that change what a metric means. They are
no part of an arm's identity, since they change nothing that is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.record.dotted import dotted

BESIDE = ("probe_epochs", "live_every", "action_probe", "subspace")
"""When something is measured, and what is measured beside: the other numbers stay what they are."""


def probing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Those settings of a configuration on record by their keys."""
    return dotted({name: value for name, value in (config.get("eval") or {}).items() if name not in BESIDE}, "eval.")


def other_probing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """In which of them two configurations differ, in words; what only one has on record is left out."""
    then, here = probing(before), probing(now)
    return next(
        (f"{key} = {then[key]!r}, not {here[key]!r}" for key in then if here.get(key, then[key]) != then[key]), None
    )
