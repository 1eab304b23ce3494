"""The comparison that the fault tests rest on: it overlooks when a trial was judged, never what became of it."""

from __future__ import annotations

from typing import Any

import pytest
from faults.compare import judged

AT = {"name": "t004", "rung": 2, "value": 42.0, "cutoff": 41.0, "peers": 3}
WAITED = {"event": "rung", **AT, "cutoff": None, "peers": 2, "stop": False, "wait": True}
WENT_ON = {"event": "rung", **AT, "stop": False}
STOPPED = {"event": "rung", **AT, "stop": True}


class Recorded:
    def __init__(self, *lines: dict[str, Any]):
        self._lines = lines

    def decisions(self, *events: str) -> list[dict[str, Any]]:
        return [line for line in self._lines if line["event"] in events]


def test_a_trial_that_waited_and_went_on_is_as_one_that_went_on_at_once():
    assert judged(Recorded(WAITED, {"event": "promote", **AT})) == judged(Recorded(WENT_ON))


@pytest.mark.parametrize("lines", [(WAITED, {"event": "stop", **AT}), (STOPPED,), (STOPPED, {"event": "stop", **AT})])
def test_a_stop_is_one_whether_it_waited_or_its_stop_line_fell_to_a_kill(lines):
    assert judged(Recorded(*lines)) == judged(Recorded(STOPPED)) != judged(Recorded(WENT_ON))


@pytest.mark.parametrize("change", [{"value": 42.5}, {"cutoff": 40.0}, {"peers": 2}, {"stop": True}, {"name": "t005"}])
def test_another_judgement_is_another(change):
    assert judged(Recorded({**WENT_ON, **change})) != judged(Recorded(WENT_ON))


def test_a_trial_that_still_waits_has_not_been_judged():
    assert judged(Recorded(WAITED)) == {}
