"""Reference results: read with their caveats, marked, never inside a test, and never a verdict."""

from __future__ import annotations

import csv
import re

import pandas as pd
import pytest
from test_analysis import full
from test_frames import check_types

import analysis
from analysis.__main__ import main
from analysis.ingest.reference import LOG, PAPER
from analysis.sentences.observed import claims


@pytest.fixture(scope="module")
def reference():
    return analysis.load(analysis.REFERENCE)


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("path", "study"), [(LOG, "research log"), (PAPER, "paper")])
def test_every_value_arrives_with_its_caveat(path, study):
    found = analysis.load(path)
    check_types(found)
    assert set(found.runs["origin"]) == {"reference"} == set(found.epochs["origin"])
    assert set(found.runs["study"]) == {study} and found.runs["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    runs, caveats = found.runs.set_index("run_id"), 0
    for row in rows(path):
        name = row.get("run") or " / ".join(
            row[column] for column in ("table", "dataset", "conditioning", "method", "m_train", "m_val") if row[column]
        )
        for caveat in filter(None, row["caveat"].split("; ")):
            assert caveat in runs.loc[name, "caveat"]
            caveats += 1
        if row["value"] and row["metric"] != "gate_pass":
            of_run = found.epochs[(found.epochs["run_id"] == name) & found.epochs[row["metric"]].notna()]
            assert float(row["value"]) in of_run[row["metric"]].tolist()
            if row["caveat"]:
                assert of_run["caveat"].str.contains(f"{row['metric']}: {row['caveat']}", regex=False).any()
    assert caveats > 100
    if path == LOG:
        assert set(found.epochs.loc[found.epochs["online_linacc_test"].notna(), "split"]) == {"test"}
        assert runs["gate_passed"].notna().sum() == sum(row["metric"] == "gate_pass" for row in rows(path))


def test_the_logs_conclusions_give_no_verdict(reference):
    found = claims(reference, analysis.REFERENCE / "claims.csv").set_index("claim")
    assert len(found) >= 6 and (found["verdict"] == "no verdict: n=1").all() and (found["n"] == 1).all()
    assert found["caveat"].str.contains("single seed").all() and found["differs_in"].ne("").all()
    optimal = found[found.index.str.contains("optimal")]
    assert len(optimal) == 2
    for differs in optimal["differs_in"]:  # what is claimed of one setting goes with two more
        assert {"lambda_rate", "schedule", "warmup_epochs"} == {part.partition(":")[0] for part in differs.split("; ")}
    assert (
        optimal["caveat"].str.contains("differs from exp-b-baseline-lite in lambda, schedule and warm-up at once").all()
    )
    symmetric = found[found.index.str.startswith("symmetric")]
    assert symmetric["caveat"].str.contains("symmetric flag had no effect in the code").all()
    assert "symmetric" not in "".join(symmetric["differs_in"])
    ours = found.loc[[name for name in found.index if "34.1 against 30.0" in name]].iloc[0]
    assert ours["difference"] == pytest.approx(4.1) and ours["epoch"] == 10
    sharpening = found[found.index.str.startswith("sharpening")].iloc[0]
    assert sharpening["difference"] == pytest.approx(-2.65) and "softmaxed" in sharpening["caveat"]


def test_a_claim_of_runs_that_are_not_there_has_no_value(reference, tmp_path):
    path = tmp_path / "claims.csv"
    path.write_text(
        "claim,arm,reference,metric,source\nx,nowhere,exp-b-tuned,online_linacc_test,none\ny,exp-a-quick,exp-b-tuned,nothing,none\n"
    )
    found = claims(reference, path)
    assert (
        found["n"].tolist() == [0, 0]
        and set(found["verdict"]) == {"no verdict: n=0"}
        and found["difference"].isna().all()
    )


def test_reference_rows_change_no_contrast_and_no_arm(tmp_path):
    folder = full(tmp_path / "demo").folder
    alone, beside = analysis.load(folder), analysis.load(folder, analysis.REFERENCE)
    pd.testing.assert_frame_equal(alone.contrasts, beside.contrasts)
    pd.testing.assert_frame_equal(alone.trials, beside.trials)
    pd.testing.assert_frame_equal(alone.studies, beside.studies)
    ours = beside.arms[beside.arms["origin"] == "study"]
    assert ours["mean"].tolist() == alone.arms["mean"].tolist()
    foreign = beside.arms[beside.arms["origin"] == "reference"]
    assert len(foreign) and foreign[["mean", "low", "high", "n"]].isna().all(axis=None)


def test_the_command_prints_every_claim(capsys):
    assert main(["reference"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("no verdict: n=1") == len(rows(analysis.REFERENCE / "claims.csv"))
    assert main(["reference", "--format", "csv"]) == 0
    assert capsys.readouterr().out.startswith("claim,arm,reference,metric,arm_value,reference_value,difference")


def test_the_code_knows_none_of_the_logs_words():
    folder = analysis.REFERENCE.parent
    words = re.compile(r"symmetric|sharpening|exp-[abcd]\b|teacher|λ", re.IGNORECASE)
    assert [str(path) for path in folder.rglob("*.py") if words.search(path.read_text(encoding="utf-8"))] == []


def test_a_damaged_value_is_one_line(tmp_path, capsys):
    path = tmp_path / "log_results.csv"
    path.write_text(LOG.read_text(encoding="utf-8").replace("57.84", "fifty", 1), encoding="utf-8")
    assert main(["export", str(path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "line 2" in error and "fifty" in error
