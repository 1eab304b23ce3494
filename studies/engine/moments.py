"""When each decision was made, by the calendar. ``t`` counts from the session's ``begin``, which says ``at`` which
moment that was."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any


def moments(events: Iterable[dict[str, Any]], now: datetime) -> list[datetime]:
    """Local time of each event, in their order.

    Sessions recorded before ``begin`` had a date are set end to end before the next one that has one, or before now.
    """
    sessions: list[list[dict[str, Any]]] = []
    for line in events:
        if line["event"] == "begin" or not sessions:
            sessions.append([])
        sessions[-1].append(line)
    found: list[list[datetime]] = []
    after = now
    for session in reversed(sessions):
        lasted = timedelta(seconds=max(line.get("t", 0.0) for line in session))
        began = _at(session[0]) or after - lasted
        found.append([began + timedelta(seconds=line.get("t", 0.0)) for line in session])
        after = began
    return [moment for session in reversed(found) for moment in session]


def stamp() -> str:
    """Now, as ``begin`` has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _at(line: dict[str, Any]) -> datetime | None:
    text = line.get("at")
    # Optuna's times are local and have no zone
    return datetime.fromisoformat(text).astimezone().replace(tzinfo=None) if isinstance(text, str) else None
