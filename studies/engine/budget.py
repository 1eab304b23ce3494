"""When a study stops starting trials."""

from __future__ import annotations

from studies.engine.settings import Limits


def exhausted(limits: Limits, seconds: float, usd: float) -> str | None:
    """The limit that is reached, in words, or None.

    Args:
        seconds, usd: what the study took so far, over all its sessions.
    """
    hours = seconds / 3600
    if limits.budget_hours is not None and hours >= limits.budget_hours:
        return f"--budget-hours {limits.budget_hours:g} is spent ({hours:.2f} h)"
    if limits.budget_usd is not None and usd >= limits.budget_usd:
        return f"--budget-usd {limits.budget_usd:g} is spent ({usd:.2f} USD in {hours:.2f} h)"
    return None
