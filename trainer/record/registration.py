"""What a study registers before its first result, and its hash: a change afterwards cannot go unnoticed.

The driver writes it into every ``begin`` line of decisions.jsonl; a reader makes it again from study.json.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

PARTS = ("question", "metric", "contrasts", "seeds", "epochs", "stopping", "reference", "race", "until")
IN_WORDS = {
    "contrasts": "primary contrasts",
    "stopping": "stopping rule",
    "reference": "the reference's settings",
    "until": "until how many seeds",
}


def registration(info: dict[str, Any]) -> dict[str, Any]:
    """The registered parts of study.json, as plain JSON values, and the ``hash`` of all of them."""
    asked = info.get("declared") or {}
    parts = {
        "question": asked.get("question"),
        "metric": (asked.get("metric") or {}).get("name"),
        "contrasts": [
            [one.get(name) for name in ("question", "arm", "reference", "metric")]
            for one in asked.get("contrasts") or ()
        ],
        "seeds": list(info.get("seeds") or ()),
        "epochs": info.get("epochs"),
        "stopping": info.get("stopping"),
    }
    if "reference_settings" in asked:  # studies begun by earlier code noted only what their references are called
        parts["reference"] = asked["reference_settings"]
    if "race" in (info.get("search") or {}):  # nor was there a race
        parts["race"] = [info["search"][name] for name in ("top_k", "race")]
    if info.get("until") is not None:
        parts["until"] = info["until"]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return {**json.loads(text), "hash": hashlib.sha256(text.encode()).hexdigest()[:16]}


def registered_words(parts: dict[str, Any]) -> str:
    """What was registered, as people read it."""
    *some, last = (IN_WORDS.get(name, name) for name in PARTS if name in parts)
    return f"{', '.join(some)} and {last}"


def changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of the parts that differ; also of a registration whose own hash does not fit its parts.

    A part that ``before`` lacks is unknown: it was recorded by earlier code.
    """
    known = [name for name in PARTS if name in before]
    text = json.dumps({name: before[name] for name in known}, sort_keys=True, separators=(",", ":"))
    altered = (
        ["the registration itself"] if hashlib.sha256(text.encode()).hexdigest()[:16] != before.get("hash") else []
    )
    return [*altered, *(name for name in known if before[name] != now.get(name))]
