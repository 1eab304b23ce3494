"""The analysis takes work in proportion to the arms: counted in calls, which no busy machine changes."""

from __future__ import annotations

import cProfile
import pstats
import sys
from pathlib import Path

import pytest

from analysis.recorded.study import load
from analysis.rendering import render
from analysis.sentences.bill import costs
from analysis.sentences.confirmation import confirmation
from analysis.sentences.verdict import sentences
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.cost import cost
from analysis.statistics.differences import differences

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from tabulation import write_study  # noqa: E402


def everything(folder: Path) -> None:
    study = load(folder)
    assert study.finals["complete"].all(), "means and differences are made of runs that ended"
    spent = cost(study)
    table = comparison_table(study, spent)
    render.sheets(table, differences(study), confirmation(study))
    sentences(study, table, spent)
    costs(study, table, spent)


def calls(folder: Path, arms: int) -> int:
    write_study(folder, arms, seeds=3, epochs=4)
    counted = cProfile.Profile()
    counted.runcall(everything, folder)
    return pstats.Stats(counted).total_calls


def test_work_grows_with_the_arms_and_not_with_their_square(tmp_path):
    everything_once = tmp_path / "first"  # imports and caches are no work of the arms
    write_study(everything_once, 3, seeds=3, epochs=4)
    everything(everything_once)
    few, some, many = (calls(tmp_path / str(arms), arms) for arms in (16, 32, 64))
    # twice the arms more, twice the work more; quadratic work would be four times
    assert (many - some) / (some - few) == pytest.approx(2, abs=0.3)
    assert (many - some) / 32 < 8000, "calls per arm of three runs"
