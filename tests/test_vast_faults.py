"""The core of the fault matrix (all: ``make cluster-faults``): nothing is left billing, nothing is rented twice."""

import shutil
import tempfile
from pathlib import Path

import pytest
from vast_emulator.container import possible
from vast_emulator.scenarios import SCENARIOS, play


@pytest.mark.skipif(bool(possible()), reason=str(possible()))
@pytest.mark.parametrize("scenario", [s for s in SCENARIOS if s.core], ids=lambda s: s.name)
def test_nothing_is_left_billing(scenario):
    folder = Path(tempfile.mkdtemp(prefix="v", dir="/tmp"))
    try:
        play(scenario, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_matrix_is_large_enough():
    assert len(SCENARIOS) >= 30 and sum("ray up killed" in s.name for s in SCENARIOS) >= 8
