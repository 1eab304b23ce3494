"""When a study stops starting trials."""

from __future__ import annotations

from studies.plan import Limits


def exhausted(limits: Limits, spent_seconds: float) -> str | None:
    """The limit that is reached, in words, or None.

    Args:
        spent_seconds: wall time of the study, over all its sessions.
    """
    hours = spent_seconds / 3600
    if limits.budget_hours is not None and hours >= limits.budget_hours:
        return f"--budget-hours {limits.budget_hours:g} is spent ({hours:.2f} h)"
    if limits.budget_usd is not None and hours * limits.usd_per_hour >= limits.budget_usd:
        return f"--budget-usd {limits.budget_usd:g} is spent ({hours * limits.usd_per_hour:.2f} USD in {hours:.2f} h)"
    return None
