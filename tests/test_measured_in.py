"""Studies in another metric than linear accuracy: their tables name it, with decimals that show it, and refuse one that
no run records."""

from __future__ import annotations

import json

import pytest
from rich.console import Console
from test_analysis import Builder
from test_question import plain, two_settings

import analysis
from analysis.recorded.declared import Column, Declared, declared
from analysis.recorded.study import Study as Read
from analysis.recorded.study import load
from analysis.rendering import render
from analysis.rendering.decimals import decimals
from analysis.report import report
from analysis.sentences.answer import answers
from analysis.sentences.answer import table as short_table
from analysis.sentences.verdict import sentences
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.cost import cost
from analysis.statistics.differences import differences
from analysis.tables.paper_frames import arm_numbers
from studies import Arm, Contrast
from studies.engine.metrics import known
from studies.result import Result

UNCLIPPED, CLIPPED = {"optim.clip_norm": None}, {"optim.clip_norm": 1.0}


def fixed(metric: str, **changes):
    arms = (Arm("a", "grid", "a", UNCLIPPED), Arm("b", "grid", "b", CLIPPED, "a"))
    return two_settings(
        space=None, reference=None, arms=lambda _: arms, metric=metric, contrasts=lambda _: (Contrast("clipping", "b",
            "a"),),
        settings={"clip": "optim.clip_norm"}, **changes,
    )  # fmt: skip


def measured(folder, metric: str, values: dict[str, list[float]], reference: str | None = "a", **of_b) -> Read:
    made = Builder(folder, declared=plain(fixed(metric)))
    for key, column in values.items():
        runs = [made.run(f"{key}-{seed}", 60.0 + seed) for seed in range(len(column))]
        for run, value in zip(runs, column, strict=True):
            path = made.folder / "runs" / run / "records.jsonl"
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            for line in lines:
                if line["event"] == "eval":
                    line["metrics"][metric.replace("@M", "@3")] = value
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        made.decide({"event": "compare", "key": key, "arm_id": key, "role": "grid", "label": key,
            "clip": None if key == "a" else 1.0,
                     "reference": reference if key == "b" else None, "runs": runs,
                     "seeds": list(range(len(runs))), **(of_b if key == "b" else {})})  # fmt: skip
    return load(made.folder)


LOSSES = {"a": [0.0341, 0.0343, 0.0345], "b": [0.0210, 0.0213, 0.0216]}
CASES = {
    "predict/z_hat@M": (LOSSES, "prediction loss", "0.0213 ± 0.0007", "-0.0130"),
    "rankme/z@M": ({"a": [10.0, 10.1, 10.2], "b": [12.0, 12.2, 12.4]}, "RankMe of z", "12.2 ± 0.5", "+2.1"),
    "r2_action.feature_std/z_pair@2": ({"a": [0.58, 0.581, 0.582], "b": [0.62, 0.622, 0.624]}, "R2 of the actions",
    "0.622 ± 0.005", "+0.041"),
}  # fmt: skip


@pytest.mark.parametrize("metric", CASES)
def test_the_table_is_about_the_studys_metric(metric, tmp_path):
    values, words, mean, difference = CASES[metric]
    study = measured(tmp_path / "demo", metric, values)
    table, found = comparison_table(study), differences(study)
    first = render.sheets(table, found, None, study.declared)[0]
    heads = [" ".join(head.split()) for head in first.columns]
    assert first.title.startswith(f"Linear accuracy (%) and {words}") and ("less is better" in first.title) == (
        words == "prediction loss"
    )
    assert heads[2:] == [
        "z_agg",
        "z_1 (1 view)",
        "mean z (M views)",
        words,
        f"{words} minus reference [95 %, unadjusted]",
        "verdict",
    ]
    clipped = dict(zip(heads, first.rows[table["arm_id"].tolist().index("b")], strict=True))
    assert clipped[words] == mean and clipped[heads[-2]].startswith(difference) and clipped["verdict"] == "better"
    short, _ = short_table(study, table, found, 200, 25)
    assert [" ".join(head.split()) for head in short.columns][5:] == [
        words,
        f"{words} minus reference [95 %, unadjusted]",
        "verdict",
    ]
    assert words in short.title
    for said in (" ".join(sentences(study, table)), " ".join(answers(study, found, cost(study), 200))):
        assert difference in said, said
    assert any(row[3].startswith(difference) for row in render._against(found).rows)
    report(study.folder, Console(quiet=True))


def test_a_study_in_linear_accuracy_looks_as_it_did(tmp_path):
    study = measured(tmp_path / "demo", "linacc/z_agg@M", {"a": [60.0, 61.0, 62.0], "b": [70.0, 71.0, 72.5]})
    first, *_ = render.sheets(comparison_table(study), differences(study), None, study.declared)
    assert (
        first.title
        == "Linear accuracy (%), mean ± half of the 95 % t interval; M = 3 views, epoch 6 (untrained: 0), on"
        " validation; n of all runs"
    )
    assert first.columns == [
        "arm",
        "n",
        "z_agg",
        "z_1\n(1 view)",
        "mean z\n(M views)",
        "z_agg minus\nreference [95 %,\nunadjusted]",
        "verdict",
    ]
    study = measured(tmp_path / "other", "linacc/z_1@1", {"a": [40.0, 41.0, 42.0], "b": [50.0, 51.0, 52.5]})
    first, *_ = render.sheets(comparison_table(study), differences(study), None, study.declared)
    assert first.title.startswith("Linear accuracy (%), mean") and first.columns[3:] == [
        "z_1\n(1 view)", "mean z\n(M views)", "z_1 minus\nreference [95 %,\nunadjusted]", "verdict",
    ]  # fmt: skip


def test_an_arm_without_a_reference_is_compared_as_its_contrast_was_declared(tmp_path):
    study = measured(tmp_path / "demo", "predict/z_hat@M", LOSSES, reference=None)
    rows = comparison_table(study).set_index("arm_id")
    assert (
        rows.loc["b", ["reference", "verdict"]].tolist() == ["a", "better"] and rows.loc["a", "verdict"] == "reference"
    )
    assert rows.loc["b", "difference_mean"] == pytest.approx(-0.013)
    # what a notebook shows of it is a line
    shown = repr(Result.of(study.folder, 0))
    assert shown == f"Result({str(study.folder)!r}, code=0: 2 arms, 1 contrasts, 6 runs, 0 trials)"


def test_a_name_says_what_is_on_or_off():
    columns = (Column("kind"), Column("lr", number=True), Column("anchor"), Column("flip", symbol="f"))
    named = Declared(columns=columns).named({"kind": "cosine", "lr": 0.01, "anchor": False, "flip": "True"})
    assert named == "cosine lr=0.01 anchor=False f=True"


def test_arms_of_one_label_have_names_of_their_own(tmp_path):
    study = measured(tmp_path / "demo", "predict/z_hat@M", LOSSES, label="a")
    assert sorted(comparison_table(study)["arm"]) == ["a", "a #2"]


@pytest.mark.parametrize(
    "low, high, shown",
    [(-0.3, 0.5, "+0.1 [-0.3, +0.5]"), (-2e-5, 4e-5, "+0.00001 [-0.00002, +0.00004]"), (0.0, 0.0, "+0.0 [+0.0, +0.0]"),
     (0.04, 9.5, "+4.77 [+0.04, +9.50]"), (-1e-12, 1e-12, "+0.000000 [-0.000000, +0.000000]")],
)  # fmt: skip
def test_an_interval_is_not_rounded_to_nothing(low, high, shown):
    assert render.interval((low + high) / 2, low, high) == shown
    assert render.between(low, high) == shown.partition(" ")[2]


def test_a_search_is_said_to_rank_by_accuracy_where_the_study_s_metric_is_another(tmp_path):
    study = measured(tmp_path / "demo", "predict/z_hat@M", LOSSES, search_value=65.0)
    with (study.folder / "decisions.jsonl").open("a") as file:
        trial = {"trial": 0, "name": "t000", "run_id": "t0", "arm_id": "b", "params": {}, "raw": {}}
        end = {"epoch": 6, "value": 65.0, "objectives": {"linacc": 65.0}, "state": "complete"}
        lines = [{"event": "suggest", "source": "random", "label": "b"} | trial, {"event": "finish"} | trial | end]
        file.writelines(
            json.dumps(one) + "\n"
            for one in [*lines, {"event": "select", "trials": [0], "values": [65.0], "epochs": [6]}]
        )
    said = " ".join(sentences(read := load(study.folder), comparison_table(read)))
    assert "chosen by linear accuracy of z_agg, not by the study's metric (prediction loss)" in said
    found = arm_numbers(analysis.load(study.folder)).set_index("arm_id").loc["b"]
    assert found["search_minus_confirmed"] == pytest.approx(65.0 - 61.0)  # of the accuracy, not of the loss


def test_every_metric_has_its_decimals():
    shown = {name: decimals(name) for name in known()}
    assert {shown[name] for name in known() if known()[name].unit == "percent" or name.startswith("rank")} == {1}
    assert shown["predict/z_hat@M"] == 4 and shown["r2_action.none/z_pair@2"] == 3
    assert decimals("another/code") == 3
    assert declared({"declared": plain(fixed("rankme/z@M"))}, (), "here").metric.words == "RankMe of z"


@pytest.mark.parametrize("where", ["study", "contrast"])
def test_an_action_metric_must_be_scaled_as_the_runs_are(where, tmp_path, capsys):
    name = "r2_action.none/z_pair@2"
    study = fixed(name) if where == "study" else fixed("linacc/z_agg@M")
    if where == "contrast":
        study = two_settings(contrasts=lambda _: (Contrast("clipping", "best", "best/unclipped", name),))
    words = ["--dry-run", "--executor", "process", "--results-dir", str(tmp_path)]
    assert study.main(words) == 2
    said = capsys.readouterr().err
    assert (
        "record r2_action.feature_std/z_pair@2; name that, or override data.action_scale=none" in said
        and said.count("\n") == 1
    )
    assert study.main([*words, "data.action_scale=none"]) == 0
