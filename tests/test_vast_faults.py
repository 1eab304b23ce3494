"""The core of the fault matrix (all: ``make cluster-faults``): nothing is left billing, nothing is rented twice."""

import pytest
from vast_emulator.marks import rents
from vast_emulator.matrix import played
from vast_emulator.scenarios import SCENARIOS


@pytest.mark.heavy
@rents
def test_nothing_is_left_billing():
    results = list(played(s for s in SCENARIOS if s.core))
    assert len(results) >= 5
    assert [f"{scenario.name}: {line}" for scenario, line, kept in results if not kept] == []


def test_the_matrix_is_large_enough():
    assert len(SCENARIOS) >= 30 and sum("ray up killed" in s.name for s in SCENARIOS) >= 8
