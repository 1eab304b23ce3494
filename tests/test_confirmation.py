"""Several arms per teacher on fresh seeds, the states of a search, its front and its warm start."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from test_analysis import EPOCHS, Builder

from analysis.recorded.chosen import superseded
from analysis.recorded.study import load
from analysis.report import report
from analysis.sentences.confirmation import confirmation, order_held
from analysis.sentences.pareto import measured
from analysis.sentences.verdict import sentences
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.differences import differences


def top_three(folder: Path, second=(61.0, 62.5, 66.5), third=(57.0, 58.0, 61.0), **info) -> Builder:
    """One teacher whose best three were confirmed, and what a search can meet."""
    study = Builder(folder, num_trials=9, confirm=["stopgrad"], **info)
    study.trial(0, "stopgrad", 0.1, 66.0, arm_id="b", r2=0.4)
    study.trial(1, "stopgrad", 0.3, 65.0, arm_id="c", r2=0.5)
    study.trial(
        2, "stopgrad", 0.03, 52.0, 3, "pruned", "not in the top 1/3 of 3 stopgrad trials at epoch 3", arm_id="d", r2=0.6
    )
    study.trial(3, "stopgrad", 0.9, 51.0, 3, "pruned", "not in the top 1/3 of 4 stopgrad trials at epoch 3", r2=0.2)
    study.trial(
        4,
        "stopgrad",
        0.001,
        20.0,
        3,
        "collapsed",
        "collapsed: effective rank of z_agg 1.2 is below 2 at epoch 3",
        r2=0.0,
    )
    study.trial(5, "stopgrad", 0.7, None, 2, "diverged")
    study.trial(6, "stopgrad", 0.2, None, 0, "out_of_memory")
    study.trial(7, "stopgrad", 0.4, None, 1, "failed")
    study.trial(8, "stopgrad", 0.5, 64.0, r2=0.45)
    choice = {"event": "select", "teacher": "stopgrad", "trials": [0, 1, 2], "values": [66.0, 65.0, 52.0]}
    study.decide(choice | {"epochs": [EPOCHS, EPOCHS, 3], "reason": "best"})
    study.arm("z", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0], rank=1.7)
    study.arm("b", "best", "stopgrad", 0.1, [62.0, 63.0, 67.0], "z", 66.0, place=1)
    study.arm("c", "candidate", "stopgrad", 0.3, list(second), "b", 65.0, place=2)
    study.arm("d", "candidate", "stopgrad", 0.03, list(third), "b", 52.0, place=3)
    return study


def test_search_scores_beside_confirmed_ones(tmp_path):
    found = load(top_three(tmp_path / "demo").folder)
    assert list(found.arms.names.values()) == [
        "stopgrad λ=0.1 (best)",
        "stopgrad λ=0",
        "stopgrad λ=0.3 (2nd)",
        "stopgrad λ=0.03 (3rd)",
    ]
    table = confirmation(found).set_index("place")
    assert table["search_epoch"].tolist() == [6, 6, 3] and table["confirmed"].tolist() == pytest.approx(
        [64, 190 / 3, 176 / 3]
    )
    # a score at epoch 3 says nothing of a lucky choice at epoch 6
    assert table["shrinkage"].tolist() == pytest.approx([2, 65 - 190 / 3, float("nan")], nan_ok=True)
    # second - best: -1, -0.5, -0.5, mean -2/3, s.d. 0.288675, half-width 4.302653 * 0.288675 / sqrt(3) = 0.717109
    assert table.at[2, "difference"] == pytest.approx(-2 / 3) and table.at[2, "low"] == pytest.approx(
        -2 / 3 - 0.717109, abs=1e-6
    )
    rows = differences(found).set_index(["role", "metric", "reference_role"])
    assert rows.loc[("candidate", "linacc/z_agg", "best"), "verdict"].tolist() == ["exploratory"] * 2
    assert rows.loc[("best", "linacc/z_agg", "lambda0"), "mean"] == pytest.approx(13)
    # how many candidates are confirmed must not change the answer to the main question
    top_one = Builder(tmp_path / "one", confirm=["stopgrad"])
    top_one.arm("z", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0], rank=1.7)
    top_one.arm("b", "best", "stopgrad", 0.1, [62.0, 63.0, 67.0], "z", 66.0, place=1)
    of_one = differences(load(top_one.folder)).set_index(["role", "metric", "reference_role"])
    columns = ["mean", "low", "high", "p", "p_holm", "verdict"]
    pd.testing.assert_frame_equal(rows.loc[["best"], columns], of_one.loc[["best"], columns])
    scores, order = order_held(found, confirmation(found))
    assert "in the search best 66.0, 2nd 65.0, 3rd 52.0; confirmed best 64.0, 2nd 63.3, 3rd 58.7 percent" in scores
    assert "1.8 points above the confirmed ones on average (the 2 scored at the last epoch)" in scores
    assert order.endswith("no verdict): 2nd -0.7 [-1.4, +0.1], 3rd -5.3 [-6.8, -3.9].")


@pytest.mark.parametrize(
    ("second", "third", "expected"),
    [
        # however clear they are: which arm of a search is the best is not what the study declared to ask
        ((72.0, 73.1, 76.9), (62.0, 63.5, 66.0), "2nd +10.0 [+9.8, +10.2], 3rd -0.2 [-2.1, +1.7]"),
        ((61.0,), (62.0,), "2nd -1.0, 3rd +0.0"),
    ],
)
def test_the_searchs_order_gets_intervals_and_no_words(tmp_path, second, third, expected):
    found = load(top_three(tmp_path / "demo", second, third).folder)
    said = " ".join(order_held(found, confirmation(found)))
    assert expected in said and not any(word in said for word in ("better", "worse", "not resolved", "hold"))


def test_one_arm_per_teacher_stays_short(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("z", "lambda0", "ema", 0.0, [50.0, 51.0, 52.0])
    study.arm("b", "best", "ema", 0.1, [62.0, 63.0, 67.0], "z", 66.0, place=1)
    report(study.folder)
    found = load(study.folder)
    assert confirmation(found).empty and order_held(found, confirmation(found)) == []
    assert "Search and confirmation" not in (study.folder / "report/table.md").read_text(encoding="utf-8")
    assert not (study.folder / "report/pareto.png").exists()


def test_states_are_counted_and_are_no_scores(tmp_path):
    found = load(top_three(tmp_path / "demo").folder)
    said = sentences(found, comparison_table(found))
    assert (
        "9 trials on seed 0, 2 stopped early, 1 collapsed, 1 diverged, 1 not run (failed), 1 not run (out of memory)."
        in said[0]
    )
    assert said[1] == "Stopped at epoch 3: 2 not in the top 1/3 of the peers, 1 collapsed (rank of z_agg below 2)."
    assert found.search["value"].isna().tolist() == [False] * 4 + [True] * 4 + [False]
    # a later driver tries the failed one again, and is killed
    line = {"event": "start", "t": 1.0, "name": "t007", "trial": 7}
    with (tmp_path / "demo/decisions.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    found = load(tmp_path / "demo")
    assert found.search["state"].iloc[7] == "unfinished"
    assert any(
        "INCOMPLETE: 1 of 9 trials have not ended" in sentence for sentence in sentences(found, comparison_table(found))
    )


def test_a_longer_search_replaces_its_choice(tmp_path):
    """The second choice makes the first best arm second; what was best and its twin leave the table where nothing keeps
    them."""
    study = top_three(tmp_path / "demo")
    study.trial(9, "stopgrad", 0.15, 70.0, arm_id="e")
    choice = {
        "event": "select",
        "teacher": "stopgrad",
        "trials": [9, 0],
        "values": [70.0, 66.0],
        "epochs": [EPOCHS, EPOCHS],
    }
    study.decide(choice)
    study.arm("y", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0])
    study.arm("e", "best", "stopgrad", 0.15, [64.0, 65.0, 69.0], "y", 70.0, place=1)
    study.arm("b", "candidate", "stopgrad", 0.1, [62.0, 63.0, 67.0], "e", 66.0, place=2)
    found = load(study.folder)
    assert found.arms.ordered == [("e", "best"), ("y", "lambda0"), ("b", "candidate")]
    assert set(found.dropped) == {("b", "best"), ("c", "candidate"), ("d", "candidate"), ("z", "lambda0")}
    said = " ".join(sentences(found, comparison_table(found)))
    assert "Left out of the comparison: 4 arms" in said and "5 % hold for each choice alone" in said
    assert (
        superseded({("a", "best"): {"teacher": "ema", "reference": None}}, {}, found.declared) == []
    )  # nothing on record of a choice


def test_front_of_two_objectives(tmp_path):
    study = top_three(tmp_path / "demo", search={"objectives": ["linacc", "r2_action"], "lag": 2})
    params = {"teacher": "ema", "lambda_rate": 0.2}
    study.decide({"event": "warm", "from": "earlier", "trial": 3, "params": params, "state": "complete",
        "epoch": EPOCHS, "arm_id": "w",
                  "run_id": "w-s0", "objectives": {"linacc": 60.0, "r2_action": 0.55}, "rungs": []})  # fmt: skip
    found = load(study.folder)
    trials = measured(found)
    # trial 8 (64, 0.45) is beaten by trial 1 (65, 0.5); trial 2 has the highest R2, but not at the end
    assert trials.loc[trials["front"], "objective.linacc"].tolist() == [66.0, 65.0, 60.0]
    said = " ".join(sentences(found, comparison_table(found)))
    front = (
        "stopgrad λ=0.1 (66.0 percent, R2 0.40), stopgrad λ=0.3 (65.0 percent, R2 0.50), ema λ=0.2 (60.0 percent, R2"
        " 0.55)"
    )
    assert front in said and "9 trials on seed 0" in said and "1 trial taken over from study earlier" in said
    assert "The search was deterministic" in said and "up to 2 before it" in said
    report(study.folder)
    assert (study.folder / "report/pareto.png").read_bytes().startswith(b"\x89PNG")
    markdown = (study.folder / "report/table.md").read_text(encoding="utf-8")
    assert "## Search and confirmation" in markdown and "| stopgrad λ=0.3 (2nd) | 2 | 65.0 @ 6 |" in markdown


def test_a_warm_trial_may_be_the_best(tmp_path):
    study = Builder(tmp_path / "demo", num_trials=0)
    told = {"state": "complete", "epoch": EPOCHS, "objectives": {"linacc": 66.0}, "rungs": []}
    params = {"teacher": "ema", "lambda_rate": 0.1}
    study.decide({"event": "warm", "from": "earlier", "trial": 4, "params": params, "arm_id": "b", "run_id": "b-s0",
        **told},
                 {"event": "select", "teacher": "ema", "trials": [-1], "values": [66.0],
                     "epochs": [EPOCHS]})  # fmt: skip
    study.trial(0, "ema", 0.3, 60.0)
    study.arm("b", "best", "ema", 0.1, [62.0, 63.0, 67.0], None, 66.0, place=1)
    said = " ".join(sentences(load(study.folder), comparison_table(load(study.folder))))
    assert "Found by an earlier study, not by this search: ema λ=0.1 (best)." in said
    assert pd.isna(load(study.folder).search["value"]).sum() == 0
