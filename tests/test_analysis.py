"""Synthetic studies on disk, in the record format, against numbers worked out by hand."""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

import analysis
from analysis.page.arms_table import arms_table
from analysis.page.facts import gather
from analysis.page.figures import FIGURES
from analysis.page.words import at_an_edge
from analysis.page.writing import page
from analysis.recorded.study import load
from analysis.recorded.typed import typed
from analysis.rendering.render import sheets, short_accuracy
from analysis.report import report
from analysis.sentences.answer import answers
from analysis.sentences.bill import costs
from analysis.sentences.caveats import caveats
from analysis.sentences.verdict import sentences
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.cost import cost
from analysis.statistics.differences import SAME_ARM, differences
from analysis.statistics.family import BETTER, EXPLORATORY, NO_VERDICT, NOT_RESOLVED, WORSE, decide
from analysis.statistics.paired import mean_interval, paired, seeds_needed
from analysis.tables.paper_tables import paper_tables
from trainer.errors import UsageError

EPOCHS = 6


class Builder:
    """Writes a study folder piece by piece."""

    def __init__(self, folder: Path, **info):
        self.folder = folder
        folder.mkdir(parents=True)
        info = {"study": "demo", "seeds": [1, 2, 3], "search_seed": 0, "epochs": EPOCHS,
                "ranges": {"weights.rate": "log-uniform 0.001..1 and 0"}} | info  # fmt: skip
        (folder / "study.json").write_text(json.dumps(info))
        self.decide()

    def decide(self, *lines: dict) -> None:
        with (self.folder / "decisions.jsonl").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def decided(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / "decisions.jsonl").read_text().splitlines()]

    def run(self, run_id: str, value: float | None, *, epochs: int = EPOCHS, reason: str | None = "completed",
        rank=20.0,
            scale="feature_std", commit="a" * 40, gate=True, dirty=False, pixels=False,
            parameters=None) -> str:  # fmt: skip
        common = {"schema_version": 1, "study": "demo", "run_id": run_id, "arm_id": run_id.split("-")[0], "seed": 1}
        lines = []
        for epoch in range(epochs + 1):
            now = value if epoch == epochs else 50 + ((value or 50) - 50) * epoch / epochs
            metrics = {"linacc_live/z_agg@3": now}
            if epoch in (0, 3, 9, epochs):
                metrics |= {"linacc/z_agg@3": now, "linacc/z_1@1": 40.0, "linacc/z_mean@3": 60.0,
                    "predict/z_hat@3": 0.1,
                            "rank_pr/z@3": 10.0 if epoch == 0 else rank, "rank_pr/z_agg@3": rank,
                            f"r2_action.{scale}/z_pair@2": 0.1 * epoch}  # fmt: skip
            if pixels:
                metrics["linacc/pixels_mean@3"] = 51.6
            lines.append({"event": "eval", "epoch": epoch, "split": "validation", "metrics": metrics,
                          "probe_epoch": 3 * (epoch // 3), "seconds": {"train": 2.0, "probes": 0.5}})  # fmt: skip
        config = {"data": {"observed_views": 3}, "epochs": EPOCHS}
        lines[0] |= {"config": config, "provenance": {"commit": commit, "dirty": dirty}}
        lines[0] |= {"parameters": parameters} if parameters else {}
        if reason:
            lines.append({"event": "stop", "reason": reason, "metrics": {}, "gate": {"gate": "g", "passed": gate}})
        path = self.folder / "runs" / run_id / "records.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(common | line) + "\n" for line in lines))
        return run_id

    def arm(self, arm_id: str, role: str, teacher: str, rate: float, measured: list, reference: str | None = None,
            search_value: float | None = None, place: int | None = None, label: str | None = None,
            peer: str | None = None,
            **options) -> None:  # fmt: skip
        """Compare an arm with one run per value on seeds 1, 2, ...; the value "missing" leaves no record."""
        runs = [f"{arm_id.replace('/', '_')}-{role}-{seed}" for seed in range(1, len(measured) + 1)]
        for run_id, value in zip(runs, measured, strict=True):
            if value != "missing":
                self.run(run_id, value, epochs=0 if role == "untrained" else EPOCHS, **options)
        label = label or f"{teacher} λ={rate} {role} cosine warm-up 2 half-life 0.05 (τ=0.9864)"
        who = {"arm_id": arm_id, "role": role, "label": label, "teacher": teacher, "lambda_rate": rate}
        self.decide({"event": "compare", **who, "reference": reference, "peer": peer, "runs": runs,
                     "seeds": list(range(1, len(runs) + 1)), "search_value": search_value, "place": place})  # fmt: skip

    def trial(self, number: int, teacher: str, rate: float, value: float | None, epoch=EPOCHS, state="complete",
              reason="below the cutoff", arm_id: str | None = None, r2: float | None = None) -> None:  # fmt: skip
        who = {"trial": number, "name": f"t{number:03d}", "run_id": f"t{number}", "arm_id": arm_id or f"t{number}"}
        params = {"teacher": teacher, "lambda_rate": rate}
        self.decide({"event": "suggest", **who, "params": params, "source": "random", "label": f"{teacher} λ={rate:g}"})
        if state in ("pruned", "collapsed"):
            self.decide({"event": "stop", **who, "epoch": epoch, "value": value, "state": state, "reason": reason})
        if state != "unfinished":
            objectives = {"linacc": value, "r2_action": r2}
            self.decide(
                {"event": "finish", **who, "epoch": epoch, "value": value, "objectives": objectives, "state": state}
            )


def full(folder: Path) -> Builder:
    """The usual study: both teachers, controls, 12 trials."""
    study = Builder(folder)
    study.arm("none", "untrained", "stopgrad", 0.0, [55.0, 55.5, 56.0], pixels=True, rank=10.0)
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0], rank=1.7, gate=False)
    study.arm("e0", "lambda0", "ema", 0.0, [45.0, 50.0, 55.0], rank=2.0, gate=False)
    study.arm("sh", "shared", "shared", 0.0, [30.0, 31.0, 30.5], reference="s0", rank=1.0, gate=False)
    study.arm("s1", "best", "stopgrad", 0.1, [62.0, 64.0, 66.0], "s0", 65.0)
    study.arm("e1", "best", "ema", 0.1, [61.0, 65.0, 63.0], "e0", 64.0)
    stopgrad = [
        (0.1, 65.0, EPOCHS),
        (0.03, 61.5, EPOCHS),
        (0.002, 49.0, 1),
        (0.4, 60.0, 3),
        (0.0, 51.0, 3),
        (0.12, 64.2, EPOCHS),
    ]
    ema = [(0.1, 64.0, EPOCHS), (0.0, 48.0, 1), (0.9, 52.0, 1), (0.05, 62.0, EPOCHS), (0.004, 51.0, 3)]
    for number, (rate, value, epoch) in enumerate(stopgrad + ema):
        teacher = "stopgrad" if number < len(stopgrad) else "ema"
        study.trial(number, teacher, rate, value, epoch, "complete" if epoch == EPOCHS else "pruned")
    study.trial(11, "ema", 0.7, 0.0, 2, "diverged")
    return study


def test_arms_that_are_compared_stand_together_before_the_controls(tmp_path):
    study = full(tmp_path / "demo")
    study.arm("g1", "grid", "stopgrad", 0.2, [60.0, 61.0, 62.0])
    kinds = [role for _, role in load(study.folder).arms.ordered]
    assert kinds == ["best", "best", "lambda0", "lambda0", "grid", "shared", "untrained"]


def test_the_arms_in_full_say_how_many_parameters_they_train(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("a", "best", "ema", 0.1, [62.0, 64.0, 66.0])
    found = load(study.folder)
    assert sheets(comparison_table(found), differences(found))[-1].columns == ["arm", "settings"]  # an older record
    counts = {"encoder": 21016, "rules": 8, "total": 21024}
    study.arm("b", "best", "stopgrad", 0.1, ["missing", 64.0, 66.0], parameters=counts)
    found = load(study.folder)
    table = comparison_table(found).set_index("arm_id")
    assert table.loc["b", "parameters"] == 21024 and table["parameters"].isna().tolist() == [False, True]
    whole = sheets(table.reset_index(), differences(found))[-1]
    assert whole.columns[2] == "trained parameters"
    assert [row[2] for row in whole.rows] == ["21,024: encoder 21,016, rules 8", "-"]
    # beside the results where arms differ in them
    assert "parameters" not in paper_tables(analysis.load(study.folder), "arms")[1][0].columns
    study.arm("c", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0], parameters={"encoder": 5, "total": 5})
    numbers, (arms,) = paper_tables(analysis.load(study.folder), "arms")
    assert arms.columns[1] == "parameters" and [row[1] for row in arms.rows] == ["21,024", "-", "5"]
    assert numbers["parameters"].fillna(0).tolist() == [21024, 0, 5]
    groups = arms_table(gather(load(study.folder)))
    assert [row[-2] for one in groups for row in one.rows] == ["21,024", "-", "5"] and "parameters" in groups[0].columns


def test_intervals_by_hand():
    # t(0.975, 2 degrees) = 4.302653; differences 1, 2, 6: mean 3, s.d. sqrt(7)
    found = paired({1: 11.0, 2: 22.0, 3: 36.0, 4: None, 5: 1.0}, {1: 10.0, 2: 20.0, 3: 30.0, 4: 1.0, 6: 1.0})
    half = 4.302653 * math.sqrt(7) / math.sqrt(3)
    assert (found.mean, found.n, found.dropped) == (3.0, 3, 3)
    assert found.interval() == pytest.approx((3 - half, 3 + half), rel=1e-6)
    t = 3 / math.sqrt(7 / 3)
    assert found.p == pytest.approx(1 - t / math.sqrt(t * t + 2))  # P(|T| > t) with 2 degrees of freedom
    # half-width at n = 5: 2.776 * 2.6458 / 2.236 = 3.285; at n = 6: 2.571 * 2.6458 / 2.449 = 2.777 < 3
    assert seeds_needed(found.mean, found.sd) == 6
    assert seeds_needed(0.0, 1.0) is None and seeds_needed(0.01, 10.0) is None
    mean = mean_interval([1.0, 2.0, float("nan"), 6.0, None])
    assert (mean.mean, mean.n, mean.missing) == (3.0, 3, 2) and mean.half == pytest.approx(half, rel=1e-6)
    assert math.isnan(mean_interval([1.0]).half) and math.isnan(mean_interval([]).mean)


def words(*family) -> list[str]:
    return [one.verdict for one in decide(family)]


def test_few_seeds_give_no_verdict():
    two = paired({1: 10.0, 2: 10.1}, {1: 0.0, 2: 0.1})
    assert words(two) == [NO_VERDICT] and math.isnan(two.p) and math.isnan(two.interval()[0])
    assert words(paired({1: 10.0}, {1: 0.0}), paired({1: 1.0}, {2: 0.0})) == [NO_VERDICT] * 2
    assert words(paired({1: 1.0, 2: 2.1, 3: 3.0}, {1: 0.0, 2: 1.0, 3: 2.0})) == [BETTER]
    same = paired({1: 1.0, 2: 2.0, 3: 3.0}, {1: 1.0, 2: 2.0, 3: 3.0})
    assert words(same) == [NOT_RESOLVED] and decide([same])[0].seeds_needed is None
    ahead = paired({1: 1.0, 2: 2.1, 3: 3.0}, {1: 0.0, 2: 1.0, 3: 2.0})
    alike = decide([ahead, ahead, same])  # whichever is declared first
    assert (alike[0], alike[1].verdict) == (alike[1], BETTER) and alike[0].level == pytest.approx(0.05 / 3)


def test_full_study(tmp_path):
    folder = full(tmp_path / "demo").folder
    console = Console(width=120, record=True, file=io.StringIO())
    report(folder, console)
    assert "…" not in console.export_text()
    csv = pd.read_csv(folder / "report/table.csv")
    parquet = pd.read_parquet(folder / "report/table.parquet")
    arms = ["stopgrad λ=0.1 (best)", "ema λ=0.1 (best)", "stopgrad λ=0", "ema λ=0", "shared λ=0", "untrained"]
    assert list(csv["arm"]) == list(parquet["arm"]) == arms
    for name in parquet.select_dtypes("number"):
        assert csv[name].tolist() == pytest.approx(parquet[name].astype(float).tolist(), nan_ok=True, rel=1e-15), name
    markdown = (folder / "report/table.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in markdown.split("##")[1].splitlines() if line.startswith("| ")][2:]
    assert [row[0].removeprefix("| ") for row in rows] == arms
    assert [float(row[2].split(" ±")[0]) for row in rows] == pytest.approx(csv["linacc_z_agg_mean"].round(1).tolist())
    best = parquet.iloc[0]
    assert best["difference_mean"] == pytest.approx(13.0) and best["verdict"] == "better" and best["n"] == 3
    # differences 12, 13, 14: half-width 4.302653 / sqrt(3)
    assert best["difference_low"] == pytest.approx(13 - 2.484138, rel=1e-6)
    assert best["search_value"] == 65.0 and best["gate_passed"] == 3 and parquet.iloc[2]["collapsed"] == 3
    assert parquet["verdict"].tolist()[2:] == ["reference", "reference", EXPLORATORY, "not compared"]
    said = (folder / "report/verdict.txt").read_text(encoding="utf-8")
    assert (
        "12 trials on seed 0, 6 stopped early, 1 diverged" in said and "weights.rate log-uniform 0.001..1 and 0" in said
    )
    assert (
        "So this repairs collapse here" in said and "Not resolved (which does not show that the two are equal)" in said
    )
    assert "3 of 3 runs collapsed; rank of z 1.0" in said and "Incomplete" not in said and "mix" not in said
    assert all((folder / f"report/{name}.png").read_bytes().startswith(b"\x89PNG") for name in ("setting", "curves"))
    found = load(folder)
    said = costs(found, comparison_table(found), cost(found))
    assert "saved 24 of the 72 epochs" in said[-1] and "Cost unknown" in said[1] and "USD" not in " ".join(said)


def test_missing_values_stay_missing(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0, 50.0])
    study.arm("s1", "best", "stopgrad", 0.1, [60.0, 62.0, None, "missing"], "s0")
    study.run("late", 70.0, epochs=4, reason="diverged at step 70", commit="b" * 40, dirty=True)
    line = study.decided()[-1]
    study.decide(line | {"runs": [*line["runs"], "late"], "seeds": [1, 2, 3, 4, 5]})
    found = load(study.folder)
    finals = found.finals[found.finals["role"] == "best"]
    assert finals["complete"].tolist() == [True, True, True, False, False]
    assert finals["linacc/z_agg@3"].isna().tolist() == [False, False, True, True, True]
    assert finals["problem"].tolist()[3:] == ["no record", "diverged at step 70 (at epoch 4 of 6)"]
    table = comparison_table(found)
    row = table.iloc[0]
    assert (row["n"], row["runs"], row["linacc_z_agg_mean"]) == (2, 5, 61.0)
    assert (row["difference_n"], row["difference_dropped"], row["verdict"]) == (2, 3, NO_VERDICT)
    assert row["linacc_z_1_n"] == 3
    said = " ".join(sentences(found, table))
    assert "Incomplete runs, 2 of 9" in said and "mix 2 code versions: aaaaaaaaaa, bbbbbbbbbb" in said
    assert (
        "uncommitted changes in the code: 1" in said
        and "No verdict: n<3 pairs of seeds for coding rate, stopgrad" in said
    )


def test_repeated_decisions_and_a_torn_line(tmp_path):
    study = full(tmp_path / "demo")
    before = comparison_table(load(study.folder))
    lines = study.decided()
    study.decide(*lines, lines[-1] | {"state": "failed", "epoch": 4})
    with (study.folder / "decisions.jsonl").open("a") as file:
        file.write('{"event": "comp')
    again = load(study.folder)
    assert pd.isna(again.search["value"].iloc[-1])  # a diverged trial has no score
    assert again.search["trial"].tolist() == list(range(12)) and again.search["state"].iloc[-1] == "failed"
    pd.testing.assert_frame_equal(comparison_table(again), before)


def test_one_arm_in_two_roles(tmp_path):
    """The search may choose lambda 0, and an untrained encoder has the arm id of its trained arm."""
    study = Builder(tmp_path / "demo")
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0])
    (line,) = study.decided()
    study.decide(
        line | {"role": "best", "label": "best", "reference": "s0"}, line | {"role": "untrained", "label": "untrained"}
    )
    found = load(study.folder)
    table = comparison_table(found)
    assert table["verdict"].tolist() == [SAME_ARM, "reference", "not compared"]
    assert table["epoch"].tolist() == [6, 6, 0] and table["linacc_z_agg_mean"].tolist() == [51.0, 51.0, 50.0]
    assert differences(found)["p_holm"].isna().all() and not {BETTER, WORSE} & set(differences(found)["verdict"])
    assert any("the search chose the reference itself" in sentence for sentence in sentences(found, table))


def test_action_scalings_keep_their_columns(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("a", "grid", "stopgrad", 0.1, [60.0, 61.0])
    study.arm("b", "grid", "stopgrad", 0.2, [60.0, 61.0], scale="none")
    table = comparison_table(load(study.folder)).set_index("arm_id")
    assert table["r2_action.feature_std_mean"].isna().tolist() == [False, True]
    assert table["r2_action.none_mean"].isna().tolist() == [True, False]
    assert table.at["b", "r2_action.none_mean"] == pytest.approx(0.6) and table.at["b", "r2_action.none_epoch"] == 6


@pytest.mark.parametrize("kind", ["empty", "one trial", "only NaN", "one seed", "half finished"])
def test_degenerate_studies(tmp_path, kind):
    study = Builder(tmp_path / "demo")
    if kind == "one trial":
        study.trial(0, "ema", 0.0, 50.0)
    elif kind == "only NaN":
        study.trial(0, "ema", 0.1, None, 2, "diverged")
        study.arm("a", "best", "ema", 0.1, [None, None, None], "b")
    elif kind == "one seed":
        study.arm("a", "best", "stopgrad", 0.3, [60.0], "b")
        study.arm("b", "lambda0", "stopgrad", 0.0, [50.0])
    elif kind == "half finished":
        study.trial(0, "stopgrad", 0.3, None, None, "unfinished")
        study.run("r1", 60.0, epochs=2, reason=None)
        study.decide({"event": "compare", "arm_id": "a", "role": "best", "label": "best", "teacher": "stopgrad",
                      "lambda_rate": 0.3, "reference": "b", "runs": ["r1", "r2"], "seeds": [1, 2]})  # fmt: skip
    found = load(study.folder)
    table = comparison_table(found)
    said = " ".join(sentences(found, table))
    assert (
        not {"better", "worse", "not resolved"} & set(table["verdict"])
        and "better:" not in said
        and "worse:" not in said
    )
    for name in ("search", "curves"):
        assert len(FIGURES[name].png(gather(found))) > 5000
    assert all("nan" not in sentence for sentence in [said, *costs(found, table, cost(found))])


@pytest.mark.parametrize(("rate", "end"), [(0.4, "largest λ"), (0.01, "smallest λ"), (0.1, ""), (0.0, "")])
def test_an_arm_at_an_end_of_what_was_tried_is_said_to_be_there(tmp_path, rate, end):
    """By the report and by the page alike."""
    study = Builder(tmp_path / "demo")
    study.arm("s1", "best", "stopgrad", rate, [70.0, 71.0, 72.5], "s0")
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0])
    for number, tried in enumerate((0.0, 0.01, 0.1, 0.4)):
        study.trial(number, "stopgrad", tried, 60.0)
    study.trial(4, "ema", 1.0, 60.0)  # of another level
    found = load(study.folder)
    said, widen = " ".join(sentences(found, comparison_table(found))), at_an_edge(gather(found))
    assert (f"the {end} tried" in said and f"the {end} tried" in widen) if end else not ("tried:" in said or widen)


def test_a_run_that_was_only_begun_is_of_no_other_code(tmp_path):
    """Its record is empty, as a fault right after the start leaves it."""
    study = Builder(tmp_path / "demo")
    study.arm("s1", "best", "stopgrad", 0.1, [70.0, 71.0, "missing"], "s0")
    empty = study.folder / "runs" / "s1-best-3" / "records.jsonl"
    empty.parent.mkdir()
    empty.touch()
    found = load(study.folder)
    assert not [said for said in caveats(found, comparison_table(found), differences(found)) if "mix" in said]
    assert analysis.load(study.folder).studies["commit"].tolist() == ["a" * 40]
    assert page([gather(found)])


@pytest.mark.parametrize(
    ("best", "rank", "control", "said"),
    [
        ([70.0, 71.0, 72.5], 20.0, 1.0, "So this repairs collapse here"),
        ([51.0, 51.5, 51.0], 1.0, 1.0, "So collapse is not repaired here: every run of the arm collapsed."),
        ([70.0, 71.0, 72.5], 1.0, 1.0, "So collapse is not repaired here: every run of the arm collapsed."),
        ([30.0, 31.0, 32.5], 20.0, 1.0, "So this is no repair: the linear accuracy of z_agg is worse"),
        ([70.0, 71.0, 72.5], 20.0, 20.0, "CONTROL FAILED: shared λ=0 collapsed in 0 of 3 runs, so nothing shows that"),
        ([70.0, None, 72.5], 20.0, 1.0, "left out of its means and pairs: stopgrad λ=0.1 (best) seed 2."),
        ([50.0, 51.0, 52.0], 20.0, 1.0, " in 80 % of studies)."),
        ([70.0], 20.0, 1.0, "70.0 against 50.0 percent of stopgrad λ=0, observed difference +20.0 (n = 1 pair, 2 "),
        ([70.0, "missing", 72.0], 20.0, 1.0, "71.0 against 51.0 percent of stopgrad λ=0, observed difference +20.0"),
    ],
)
def test_what_is_said_of_odd_outcomes_fits_them(tmp_path, best, rank, control, said):
    """On the terminal or in the sentences: of collapse on both sides, of a control that trains, of a number that is
    missing, of no difference at all."""
    study = Builder(tmp_path / "demo")
    study.arm("s1", "best", "stopgrad", 0.1, best, "s0", rank=rank)
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0], rank=1.7)
    study.arm("sh", "shared", "shared", 0.0, [30.0, 31.0, 32.0], rank=control)
    found = load(study.folder)
    whole = [*sentences(found, comparison_table(found)), *answers(found, differences(found), cost(found), 200)]
    assert said in " ".join(whole)
    assert ("CONTROL FAILED" in " ".join(whole)) == (control > 1)


@pytest.mark.parametrize(
    ("diverges", "word"), [(None, "better"), ("best", "no verdict: diverged"), ("lambda0", "better")]
)
def test_an_arm_is_not_called_ahead_by_its_seeds_that_did_not_diverge(tmp_path, diverges, word):
    """A diverged run is no missing value: the pairs left are those in which the arm went well."""
    study = Builder(tmp_path / "demo")
    study.arm("s1", "best", "stopgrad", 0.1, [70.0, 71.0, 72.0, 73.5], "s0", rank=9.0)
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0, 53.0], rank=1.7)
    if diverges:
        name = f"{'s1' if diverges == 'best' else 's0'}-{diverges}-2"
        shutil.rmtree(study.folder / "runs" / name)
        study.run(name, 40.0, epochs=2, reason="diverged by step 40: the loss is not finite")
    found = load(study.folder)
    (line,) = differences(found)[lambda all_: all_["primary"]].to_dict("records")
    assert (line["verdict"], line["dropped"]) == (word, int(diverges is not None)) and line["adjusted_low"] > 0
    said = " ".join(sentences(found, comparison_table(found)))
    assert ("repairs collapse" in said) == (word == "better") and f"{word}: " in said
    shown = page([gather(found)])
    assert ("Better: " in shown) == (word == "better") and ("runs of the arm ahead diverged" in shown) == (
        word != "better"
    )


def test_command_line(tmp_path):
    def call(argument: str):
        command = [sys.executable, "-m", "analysis", argument]
        return subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)

    wrong = call(str(tmp_path))
    assert wrong.returncode == 2 and wrong.stderr.startswith("error: ") and wrong.stderr.count("\n") == 1
    assert call("--help").returncode == 0
    study = Builder(tmp_path / "demo")
    path = study.folder / "runs" / study.run("r", 50.0) / "records.jsonl"
    path.write_text(path.read_text().replace('"event"', "event", 1))
    with pytest.raises(UsageError, match="line 1"):
        load(study.folder)


def test_hundreds_of_metrics_are_one_block_and_pandas_has_nothing_to_say():
    frame = typed([{"run_id": "a", **{f"m{number}/z": 1.0 for number in range(300)}}], ["run_id"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frame.assign(score=1.0)["score"].tolist() == [1.0]


def test_a_model_without_codes_of_single_views_has_no_columns_for_them(tmp_path):
    found = load(full(tmp_path / "s").folder)
    table = comparison_table(found)
    heads = short_accuracy(table, found.declared).columns
    table = table.assign(linacc_z_1_n=0, linacc_z_mean_n=0)
    without = short_accuracy(table, found.declared)
    assert without.columns == [head for head in heads if head not in ("z_1\n(1 view)", "mean z\n(M views)")]
    assert len(without.columns) == len(heads) - 2 and all(len(row) == len(without.columns) for row in without.rows)
    assert max(without.optional) < len(without.columns)
