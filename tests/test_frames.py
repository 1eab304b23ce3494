"""Six tidy frames of whatever is on record: fixed columns and types, the report's own numbers, nothing lost."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from test_analysis import Builder, full

import analysis
from analysis.__main__ import main
from analysis.frames.columns import CATEGORIES, COLUMNS
from analysis.recorded.study import load as load_study
from analysis.sentences.bill import costs
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.cost import cost
from analysis.statistics.differences import differences
from analysis.tables.leakage import gap_numbers, gap_sheets
from analysis.tables.paper_tables import paper_tables
from trainer.errors import UsageError

RECORDED = Path(__file__).parent / "recorded" / "study_of_30a56f8.tar.gz"


def types(frame: pd.DataFrame) -> dict[str, str]:
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def check_types(found) -> None:
    """Every documented column, in order, of its documented type."""
    for name, frame in found.items():
        columns = COLUMNS[name]
        assert list(frame.columns[: len(columns)]) == [column.name for column in columns], name
        for column in columns:
            assert str(frame[column.name].dtype) == column.dtype, (name, column)
            if column.name in CATEGORIES:
                assert tuple(frame[column.name].cat.categories) == CATEGORIES[column.name]
        assert frame.columns.is_unique and frame.index.equals(pd.RangeIndex(len(frame)))


def unpacked(folder: Path) -> Path:
    with tarfile.open(RECORDED) as archive:
        archive.extractall(folder, filter="data")
    return folder / "study"


def test_frames_hold_the_reports_numbers(tmp_path):
    folder = full(tmp_path / "demo").folder
    found = analysis.load(folder)
    check_types(found)
    study = load_study(folder)
    table, against = comparison_table(study), differences(study)
    arms, contrasts = found.arms, found.contrasts
    assert arms["arm"].tolist() == table["arm"].tolist() and arms["planned"].tolist() == table["runs"].tolist()
    for part in ("mean", "n"):
        assert arms[part].tolist() == pytest.approx(table[f"linacc_z_agg_{part}"].tolist())
    half = table["linacc_z_agg_half"]
    assert (arms["high"] - arms["mean"]).tolist() == pytest.approx(half.tolist())
    assert (arms["mean"] - arms["low"]).tolist() == pytest.approx(half.tolist())
    assert contrasts["mean"].tolist() == against["mean"].tolist()
    assert contrasts["verdict"].tolist() == against["verdict"].tolist()
    assert contrasts["p_adjusted"].dropna().tolist() == against["p_holm"].dropna().tolist()
    assert contrasts["family"].dropna().unique().tolist() == [len(study.declared.contrasts)]
    # the merges of the README reach every compared run, once
    text = (Path(analysis.__file__).parent / "README.md").read_text(encoding="utf-8")
    exec(text.partition("```python\n")[2].partition("```")[0], given := {"frames": found})
    compared = sum(len(runs) for key, runs in study.arms.runs.items() if key[1] != "untrained")
    assert given["runs"]["run_id"].is_unique and len(given["runs"]) == compared
    joined = given["runs"].merge(given["last"], on=["study", "run_id"])
    of_best = joined[joined["arm_arm"] == "stopgrad λ=0.1 (best)"]
    assert of_best["linacc/z_agg@M"].tolist() == [62.0, 64.0, 66.0]
    assert len(found.trials) == 12 and found.trials["param.lambda_rate"].dtype == "float64"
    assert set(found.trials["state"]) == {"complete", "pruned", "diverged"}
    assert math.isnan(found.trials["value"].iloc[-1])


def test_effect_size_and_improvement_by_hand(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("s0", "lambda0", "stopgrad", 0.0, [10.0, 20.0, 30.0, 40.0])
    study.arm("s1", "best", "stopgrad", 0.1, [11.0, 22.0, 36.0, 39.0], "s0")
    row = analysis.load(study.folder).contrasts.iloc[0]
    # differences 1, 2, 6, -1: mean 2, s.d. sqrt(26 / 3); three of four above 0
    assert row["effect"] == pytest.approx(2 / math.sqrt(26 / 3)) and row["improvement"] == 0.75
    assert row["n"] == 4 and row["contrast"] == "coding rate, stopgrad"


def test_a_tie_counts_half_and_less_may_be_better(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("s0", "lambda0", "stopgrad", 0.0, [10.0, 20.0, 30.0, 40.0])
    study.arm("s1", "best", "stopgrad", 0.1, [10.0, 30.0, 20.0, 41.0], "s0")
    assert analysis.load(study.folder).contrasts["improvement"].iloc[0] == 0.625
    info = json.loads((study.folder / "study.json").read_text())
    one = {"question": "asked", "arm": "best", "reference": "lambda0", "metric": "linacc/z_agg@M", "higher": False}
    asked = {"question": "?", "contrasts": [one], "columns": [], "reference": "lambda0", "levels": []}
    asked["metric"] = {"name": "linacc/z_agg@M", "words": "it", "unit": "", "higher": False}
    (study.folder / "study.json").write_text(json.dumps(info | {"declared": asked}))
    assert analysis.load(study.folder).contrasts["improvement"].iloc[0] == 0.375


def test_two_seeds_that_agree_have_no_effect_size(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("s0", "lambda0", "stopgrad", 0.0, [10.0, 20.0])
    study.arm("s1", "best", "stopgrad", 0.1, [15.0, 25.001], "s0")
    row = analysis.load(study.folder).contrasts.iloc[0]
    assert row["n"] == 2 and math.isnan(row["effect"]) and math.isnan(row["improvement"])


def test_nothing_gives_empty_frames_of_the_same_types(tmp_path):
    none = analysis.load()
    check_types(none)
    assert all(frame.empty for _, frame in none.items())
    empty = analysis.load(Builder(tmp_path / "demo").folder)
    check_types(empty)
    assert empty.studies["state"].tolist() == ["not started"] and empty.runs.empty and empty.arms.empty
    assert pd.isna(empty.studies["updated"].iloc[0])
    joined = pd.concat([none.runs, empty.runs])
    assert types(joined) == types(none.runs)


def test_planned_contrasts_stand_there_without_a_verdict(tmp_path):
    study = Builder(tmp_path / "demo", confirm=["stopgrad", "ema"])
    study.trial(0, "ema", 0.1, 50.0)
    found = analysis.load(study.folder)
    assert set(found.contrasts["verdict"]) == {"not run"} and found.contrasts["primary"].all()
    assert found.contrasts["n"].tolist() == [0] * len(found.contrasts) and found.contrasts["mean"].isna().all()
    assert len(found.trials) == 1 and found.studies["trials"].tolist() == [1]
    check_types(found)


def test_all_nan_and_half_finished_stay_visible(tmp_path):
    study = Builder(tmp_path / "demo")
    study.arm("s0", "lambda0", "stopgrad", 0.0, [None, None, None])
    study.arm("s1", "best", "stopgrad", 0.1, [None, None, "missing"], "s0")
    study.run("late-best-4", 50.0, epochs=3, reason=None)
    line = study.decided()[-1]
    study.decide(line | {"runs": [*line["runs"], "late-best-4"], "seeds": [1, 2, 3, 4]})
    study.trial(0, "ema", 0.1, None, state="unfinished")
    found = analysis.load(study.folder)
    check_types(found)
    runs = found.runs.set_index("run_id")
    assert runs.loc["s1-best-3", "state"] == "planned" and runs.loc["s1-best-3", "reason"] == "no record"
    assert runs.loc["late-best-4", "state"] == "unfinished" and not runs.loc["late-best-4", "complete"]
    assert runs.loc["late-best-4", "epoch"] == 3 and runs.loc["t0", "state"] == "unfinished"
    assert found.arms["mean"].isna().all() and (found.arms["n"] == 0).all()
    of_metric = found.contrasts[found.contrasts["metric"] == "linacc/z_agg@M"]
    assert len(of_metric) and of_metric["mean"].isna().all() and of_metric["effect"].isna().all()
    assert not found.contrasts["verdict"].isin(["better", "worse", "not resolved"]).any()


def test_a_torn_last_line_is_passed_over(tmp_path):
    study = full(tmp_path / "demo")
    path = next((study.folder / "runs").glob("s1-best-1/records.jsonl"))
    path.write_text(path.read_text() + '{"schema_ver')
    assert len(analysis.load(study.folder).runs) == len(analysis.load(full(tmp_path / "other").folder).runs)


def test_records_of_earlier_code(tmp_path):
    folder = unpacked(tmp_path)
    found = analysis.load(folder)
    check_types(found)
    assert found.studies["state"].tolist() == ["finished"] and found.studies["dataset"].tolist() == ["digits"]
    assert len(found.runs) == 12 and found.runs["complete"].all() and set(found.runs["phase"]) == {"search", "verdict"}
    assert found.runs["split_hash"].nunique() == 1 and set(found.runs["device"]) == {"cpu"}
    assert found.arms["config.optim.lr"].tolist() == [0.002] * len(found.arms)
    assert not [name for name in found.arms if name.startswith(("config.runtime", "config.seed"))]
    both = found.epochs[found.epochs["epoch"] == 1].groupby("run_id")["split"].agg(set)
    assert all(splits == {"train", "validation"} for splits in both)
    train = found.epochs[found.epochs["split"] == "train"]
    assert train["loss/total"].notna().all() and train["linacc/z_agg@M"].isna().all()


@pytest.mark.parametrize("file", ["study.json", "decisions.jsonl", "records.jsonl", "evaluation.jsonl"])
def test_what_cannot_be_read_is_left_out_of_a_folder_and_named(tmp_path, file):
    """One damaged study in the results must not keep a notebook from the others."""
    good, bad = full(tmp_path / "good").folder, begun(full(tmp_path / "bad").folder, "2026-01-02")
    path = bad / file if (bad / file).is_file() else bad / "runs" / "s1-best-1" / file
    path.write_text("[]\n" + (path.read_text() if path.is_file() else ""))
    with pytest.warns(UserWarning, match=rf"left out: .*{path.name}") as warned:
        found = analysis.load(tmp_path)
    assert len(warned) == 1 and warned[0].filename == __file__ and "--" not in str(warned[0].message)
    assert [study.folder for study in found.loaded] == [good] and len(found.studies) == 1
    assert found.runs["source"].str.startswith(str(good)).all()
    with pytest.warns(UserWarning, match=f"left out: file://{tmp_path}/bad"):
        assert len(analysis.load(f"file://{tmp_path}").studies) == 1
    for refused in (lambda: analysis.load(tmp_path, strict=True), lambda: analysis.load(bad)):
        with pytest.raises(UsageError, match=path.name):
            refused()
    told = []
    analysis.load(tmp_path, damaged=told.append)
    assert len(told) == 1


def test_a_renamed_folder_of_a_run_is_told_so(tmp_path):
    runs = full(tmp_path / "demo").folder / "runs"
    (runs / "s1-best-1").rename(runs / "my best")
    with pytest.raises(
        UsageError, match="'s1-best-1', but this is the folder of run my best; give the folder its name"
    ):
        analysis.load(tmp_path / "demo")


def begun(folder, created):
    """The study was begun then: one of its own, not a copy."""
    info = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(info | {"created": created}))
    return folder


@pytest.mark.parametrize("last", ["whole", "earlier", "damaged", "renamed", "both went on"])
def test_a_copy_of_a_study_or_run_counts_once_and_is_said(tmp_path, last, capsys):
    """``cp -r`` makes no second observation; a copy made before the last run is one as well."""
    first = full(tmp_path / "a").folder
    copy = shutil.copytree(first, tmp_path / "b")
    if last == "earlier":
        first, copy = copy, first
        shutil.rmtree(copy / "runs" / "s1-best-1")
    elif last == "damaged":
        first, copy = copy, first
        (copy / "study.json").write_text("[]")
    elif last == "renamed":  # and continued under that name
        first, copy = copy, first
        info = json.loads((copy / "study.json").read_text())
        (copy / "study.json").write_text(json.dumps(info | {"study": "other"}))
        shutil.rmtree(copy / "runs" / "s1-best-1")
    elif last == "both went on":  # the same run was trained here and there
        again = copy / "runs" / "s1-best-1" / "records.jsonl"
        again.write_text(again.read_text().replace('"train": 2.0', '"train": 2.1'))
    run = shutil.copytree(first / "runs" / "s1-best-2", tmp_path / "c" / "runs" / "s1-best-2")
    with pytest.warns(UserWarning) as warned:
        found = analysis.load(tmp_path)
    said = [str(one.message) for one in warned]
    assert f"counted once: the runs of {run / 'records.jsonl'} are those of {first}" in said
    assert any(str(copy) in one for one in said) and len(said) == 2
    assert [study.folder for study in found.loaded] == [first] and not found.runs["run_id"].duplicated().any()
    if last != "damaged":
        assert main(["compare", str(first), str(copy)]) == 2
        assert capsys.readouterr().err.startswith(
            f"note: counted once: the runs of {copy} are those of {first}\nerror: 1 "
        )


def test_runs_of_a_race_and_of_a_noise_floor_are_no_runs_from_elsewhere(tmp_path):
    study = full(tmp_path / "demo")
    for run_id in ("s1-1001", "s2-1001", "s0-1100"):
        study.run(run_id, 60.0)
    raced = {"event": "race", "teacher": "stopgrad", "trials": [0, 1], "values": [65.0, 61.5], "epochs": [6, 6]}
    study.decide(
        {**raced, "seeds": [1001], "race_runs": [["s1-1001"], ["s2-1001"]]},
        {"event": "noise", "label": "the preset", "seeds": [1100], "runs": ["s0-1100"]},
    )
    runs = analysis.load(study.folder).runs.set_index("run_id")
    assert Counter(runs["phase"]) == {"verdict": 18, "search": 12, "race": 2, "noise floor": 1}
    study.decide(
        {
            "event": "begin",
            "t": 0.0,
            "cores": 2,
            "concurrent": 1,
            "workers": 1,
            "gpus": 0,
            "cpus": 1,
            "usd_per_hour": 0,
        },
        *(
            {"event": "start", "name": name, "trial": None, "t": float(t)}
            for t, name in enumerate(["s1-1001", "s0-1100"])
        ),
        {"event": "session", "t": 3600.0, "seconds": 3600.0, "cores": 2, "finished": True, "budget": None},
    )
    found = load_study(study.folder)
    spent = cost(found)
    assert re.search(
        r"\(noise floor [\d.]+, search 0, race [\d.]+, comparison 0\)", " ".join(costs(found, pd.DataFrame(), spent))
    )
    (sheet,) = paper_tables(analysis.load(study.folder), "cost")[1]
    assert [row[0] for row in sheet.rows[:3]] == ["noise floor", "search", "race"]
    assert "no longer compared" not in {row[0] for row in sheet.rows}
    assert runs.loc[["s1-1001", "s2-1001", "s0-1100"], "arm"].tolist() == [
        "stopgrad λ=0.1",
        "stopgrad λ=0.03",
        "the preset",
    ]


def test_a_results_folder_gives_all_its_studies_and_names_tell_them_apart(tmp_path):
    full(tmp_path / "a"), begun(full(tmp_path / "b").folder, "2026-01-02")
    found = analysis.load(tmp_path, tmp_path / "a")  # given twice is read once
    assert found.studies["study"].tolist() == [f"demo ({tmp_path / 'a'})", f"demo ({tmp_path / 'b'})"]
    assert not found.runs.duplicated(["study", "run_id"]).any()
    assert not found.arms.duplicated(["study", "arm_id", "role"]).any()
    assert not found.trials.duplicated(["study", "trial"]).any()
    assert not found.epochs.duplicated(["study", "run_id", "epoch", "split"]).any()


def test_single_runs_and_evaluations(tmp_path):
    study = unpacked(tmp_path)
    runs = tmp_path / "single" / "runs"
    runs.mkdir(parents=True)
    record = study / "runs" / "0130926e57-s0" / "records.jsonl"
    lines = [json.loads(line) | {"study": "single"} for line in record.read_text().splitlines()]
    folder = runs / "0130926e57-s0"
    folder.mkdir()
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evaluated = {name: lines[1][name] for name in ("schema_version", "study", "run_id", "arm_id", "seed")}
    evaluated |= {"event": "eval", "epoch": 2, "split": "test", "metrics": {"linacc/z_agg@3": 61.0}}
    again = evaluated | {"metrics": {"linacc/z_agg@3": 62.0}}
    other = evaluated | {"epoch": 1}
    (folder / "evaluation.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (evaluated, again, other)))
    for path in (tmp_path / "single", folder):
        found = analysis.load(path)
        check_types(found)
        assert found.studies.empty and found.contrasts.empty and found.trials.empty
        assert found.runs["origin"].tolist() == ["single"] and found.runs["state"].tolist() == ["complete"]
        assert found.runs["dataset"].tolist() == ["digits"] and found.arms["config.data.name"].tolist() == ["digits"]
        tested = found.epochs[found.epochs["origin"] == "evaluation"]
        assert tested["linacc/z_agg@3"].tolist() == tested["linacc/z_agg@M"].tolist() == [61.0, 62.0, 61.0]
        assert set(tested["split"]) == {"test"}
        assert tested["conflict"].tolist() == [True, True, False]
        assert not found.epochs.loc[found.epochs["origin"] == "single", "conflict"].any()
    alone = analysis.load(folder / "evaluation.jsonl")
    assert len(alone.epochs) == 3 and alone.runs.empty


def test_an_evaluation_that_measured_otherwise_says_so_and_completes_no_gap(tmp_path):
    """Batch statistics in one number and stored ones in the other are no difference of features."""
    study = unpacked(tmp_path)
    record = study / "runs" / "0130926e57-s0"
    first = json.loads((record / "records.jsonl").read_text().splitlines()[0])
    line = {name: first[name] for name in ("schema_version", "study", "run_id", "arm_id", "seed")}
    line |= {"event": "eval", "epoch": 2, "split": "validation", "metrics": {"linacc/z_agg_no_actions@3": 99.0}}
    gaps = []
    for value in ("eval", "train"):
        line["settings"] = {"overrides": ["runtime.threads=2", f"eval.probe_bn={value}"]}
        (record / "evaluation.jsonl").write_text(json.dumps(line) + "\n")
        found = analysis.load(study)
        said = found.epochs.loc[found.epochs["origin"] == "evaluation", "caveat"]
        assert said.notna().tolist() == [value == "train"]
        gaps.append("z_agg without actions" in set(gap_numbers(found)["whole"]))
        if value == "eval":  # of one run, beside numbers of all
            (accuracy, *_) = gap_sheets(gap_numbers(found))
            last = [row[-2] for row in accuracy.rows if row[-2] != "-"]
            assert accuracy.columns[-2] == "z_agg without actions - z_1" and last[0].endswith(" (n=1)")
    assert said.tolist() == ["measured with eval.probe_bn=train, unlike the run's own numbers"]
    assert gaps == [True, False]


def test_test_split_rows_of_a_study_reach_no_arm(tmp_path):
    study = unpacked(tmp_path)
    before = analysis.load(study)
    record = study / "runs" / "0130926e57-s0"
    first = json.loads((record / "records.jsonl").read_text().splitlines()[0])
    line = {name: first[name] for name in ("schema_version", "study", "run_id", "arm_id", "seed")}
    line |= {"event": "eval", "epoch": 2, "split": "test", "metrics": {"linacc/z_agg@3": 99.0}}
    (record / "evaluation.jsonl").write_text(json.dumps(line) + "\n")
    after = analysis.load(study)
    assert len(after.epochs) == len(before.epochs) + 1
    pd.testing.assert_frame_equal(after.arms, before.arms)
    pd.testing.assert_frame_equal(after.contrasts, before.contrasts)


@pytest.mark.parametrize("what", ["absent", "empty", "damaged"])
def test_mistakes_are_one_line(tmp_path, what):
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    if what == "damaged":
        Builder(folder).run("one-1", 50.0)
        record = folder / "runs" / "one-1" / "records.jsonl"
        record.write_text("nonsense\n" + record.read_text())
    with pytest.raises(UsageError, match=str(folder)) as caught:
        analysis.load(folder)
    assert "\n" not in str(caught.value)


def test_every_column_is_explained():
    about = analysis.columns()
    assert not about.duplicated(["frame", "column"]).any()
    assert (about["about"].str.len() + about["unit"].str.len() > 3).all()
    assert set(about["frame"]) == set(COLUMNS)


def test_importing_is_quick_and_loads_no_engine():
    code = (
        "import sys, analysis; print(*[m for m in ('pandas', 'scipy', 'torch', 'ray', 'optuna') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
    # scipy.stats: a second of every report, and 50 MiB of the live page
    code = (
        "import sys, analysis, analysis.report, analysis.page.live.server; analysis.load();"
        " print(*[m for m in ('torch', 'ray', 'optuna', 'scipy.stats') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
    with pytest.raises(AttributeError):
        analysis.nothing  # noqa: B018


def large(folder: Path, runs: int, epochs: int) -> None:
    """A study's records of many runs and epochs, with as many metrics as a real line has."""
    study = Builder(folder, epochs=epochs)
    kinds = [
        f"{kind}{live}" for kind in ("predict", "rank_pr", "rank_sv", "rankme", "linacc") for live in ("", "_live")
    ]
    names = [f"{kind}/{of}" for kind in kinds for of in ("z@3", "z_agg@3")]
    for number in range(runs):
        common = {"schema_version": 1, "study": "demo", "run_id": f"a{number}-s1", "arm_id": f"a{number}", "seed": 1}
        lines = []
        for epoch in range(epochs):
            metrics = {name: 50.0 + number + epoch / (place + 1) for place, name in enumerate(names)}
            where = {"attempt": 1, "step": epoch, "epoch": epoch, "samples_seen": 64 * epoch}
            line = {"event": "eval", "split": "validation", "metrics": metrics, "seconds": {"train": 1.0}}
            lines.append(common | where | line)
        lines[0]["config"] = {"data": {"observed_views": 3, "name": "digits"}, "epochs": epochs}
        path = study.folder / "runs" / f"a{number}-s1" / "records.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_hundred_thousand_epochs_load_in_ten_seconds_and_two_gigabytes(tmp_path):
    large(tmp_path / "demo", 1000, 100)
    code = (
        "import re, sys, time, analysis; t = time.process_time(); f = analysis.load(sys.argv[1]); "
        # its own peak: ru_maxrss is never below what the process that started it held
        "peak = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]; "
        "print(len(f.epochs), time.process_time() - t, int(peak) / 2**20)"
    )
    begun = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code, tmp_path / "demo"], capture_output=True, text=True, check=True)
    rows, seconds, gigabytes = map(float, out.stdout.split())
    assert rows == 100_000 and seconds < 10 and gigabytes < 2, (out.stdout, time.perf_counter() - begun)
