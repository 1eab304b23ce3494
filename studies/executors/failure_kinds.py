"""What kind of end a trial's own exception stands for, whoever executed it. No torch, no ray."""

from __future__ import annotations

import re

from trainer.workers.failure import Failure


def told_kind(failure: Failure) -> tuple[str, str]:
    """``disk_full``, ``out_of_memory`` or ``failed``, and the reason in one line."""
    for part in failure["parts"]:
        if part["disk_full"]:
            return "disk_full", re.sub(r"^\[Errno \d+\] ", "", part["text"])
    kind = "out_of_memory" if any(part["out_of_memory"] for part in failure["parts"]) else "failed"
    return kind, reason_of(failure)


def reason_of(failure: Failure) -> str:
    """The innermost exception in one line."""
    last = failure["parts"][-1]
    return " ".join(last["text"].split())[:300] or last["types"][0]


def refusal(failure: Failure | None) -> str | None:
    """What the UsageError said that a trial ended with: its settings or its machine are at fault, not chance."""
    for part in failure["parts"] if failure is not None else ():
        if "UsageError" in part["types"] and "RayError" not in part["types"]:
            return part["text"]
    return None
