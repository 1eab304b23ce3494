"""What other programs recorded, in files that they wrote: values as they are, traps told, nothing of it in a test."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_analysis import full
from test_frames import check_types

import analysis
from analysis.frames.build import frame
from analysis.ingest.importers import IMPORTERS, imported
from trainer.errors import UsageError

RUN = """
import sys, wandb
settings = wandb.Settings(console="off", x_disable_stats=True, silent=True)
run = wandb.init(mode="offline", project="proj", name="hello", dir=sys.argv[1], settings=settings,
                 config={"lr": 0.1, "model": {"depth": 3}, "seed": 7})
run.log({"loss": float("nan"), "epoch": 0}, step=0)
run.log({"loss": float("inf"), "epoch": 1, "nest": {"a": 1.5}, "text": "NaN", "seed": 3, "big_n": 0.5}, step=10)
run.log({"loss": 0.25, "epoch": 2, "note": "x" * 70000}, step=17)
run.finish()
"""


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A folder as W&B leaves it without a network; the last record spans three blocks."""
    folder = tmp_path_factory.mktemp("wandb")
    environment = os.environ | {"WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
    subprocess.run([sys.executable, "-c", RUN, str(folder)], check=True, env=environment, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """Two runs of TensorBoard; the second was started again at a step it had passed."""
    from tensorboardX import SummaryWriter

    top = tmp_path_factory.mktemp("tb") / "logs"
    with SummaryWriter(str(top / "steady"), write_to_disk=True) as writer:
        for step in range(3):
            writer.add_scalar("loss/train", 0.1 * step, step)
        writer.add_scalar("acc", float("nan"), 2)
        writer.add_text("note", "no number", 0)
        writer.add_histogram("weights", [1.0, 2.0], 0)
    for attempt, steps in enumerate((range(0, 3), range(2, 4))):
        with SummaryWriter(str(top / "again"), filename_suffix=f".{attempt}") as writer:
            for step in steps:
                writer.add_scalar("loss/train", 10.0 * attempt + step, step)
    return top


def tune(folder: Path, lines: list[str], error: bool = False) -> Path:
    """A trial as Ray Tune leaves it; NaN is bare there, as Python writes it."""
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("".join(line + "\n" for line in lines))
    (folder / "progress.csv").write_text("loss\n99\n")
    if error:
        (folder / "error.txt").write_text("Traceback")
    return folder


def result(iteration: int, loss: str, **more) -> str:
    fields = {"training_iteration": iteration, "trial_id": "ab_00000", "time_total_s": 1.5 * iteration}
    fields |= {
        "config": {"lr": 0.1, "model": {"depth": 2}, "seed": 4},
        "hostname": "box",
        "done": False,
        "pid": 7,
    } | more
    return json.dumps(fields)[:-1] + f', "loss": {loss}}}'


# --- W&B, offline


def test_an_offline_folder_of_wandb(offline):
    found = analysis.load(offline)
    check_types(found)
    run = found.runs.iloc[0]
    assert len(found.runs) == 1 and run["study"] == "proj" and run["arm"] == "hello" and run["seed"] == 7
    assert run["origin"] == "wandb" and run["state"] == "complete" and len(run["sha256"]) == 64 and run["epoch"] == 2
    epochs = found.epochs
    assert epochs["step"].tolist() == [0, 10, 17] and epochs["epoch"].tolist() == [0, 1, 2]  # steps jump
    assert math.isnan(epochs["loss"][0]) and epochs["loss"][1:].tolist() == [math.inf, 0.25]
    assert epochs["nest/a"].isna().tolist() == [True, False, True]  # missing stays missing
    assert epochs["metric.seed"][1] == 3 and epochs["seed"].tolist() == [7, 7, 7] and epochs["big_n"][1] == 0.5
    assert "'NaN'" in run["caveat"] and "left out: note" in run["caveat"] and "text" in epochs
    assert found.arms["config.lr"].tolist() == [0.1] and found.arms["config.model.depth"].tolist() == [3.0]
    assert "config.seed" not in found.arms and found.arms["arm_id"].tolist() == found.runs["arm_id"].tolist()


def test_a_run_of_wandb_that_was_killed(offline, tmp_path):
    whole = next(offline.rglob("run-*.wandb"))
    raw = whole.read_bytes()
    for name, size in (("late", len(raw) - 40000), ("early", 20), ("head", 7)):
        path = tmp_path / name / "run-x.wandb"
        path.parent.mkdir()
        path.write_bytes(raw[:size])
        run = analysis.load(path).runs.iloc[0]
        assert run["state"] == "unfinished" and "no end on record" in run["caveat"]
    assert analysis.load(tmp_path / "late").epochs["step"].tolist() == [0, 10]


def test_a_damaged_run_of_wandb_is_one_line(offline, tmp_path):
    raw = bytearray(next(offline.rglob("run-*.wandb")).read_bytes())
    raw[60] ^= 1
    for content, said in ((bytes(raw), "damaged"), (b"something else", "not a run file")):
        path = tmp_path / "run-x.wandb"
        path.write_bytes(content)
        with pytest.raises(UsageError, match=said) as caught:
            analysis.load(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


# --- W&B, its server


class Run:
    """The public face of a run as ``wandb.Api().runs`` gives it."""

    commit = None

    def __init__(self, name, state, config, rows, **summary):
        self.id, self.name, self.state, self.config, self._rows, self.summary = name, name, state, config, rows, summary

    def history(self, *_, **__):
        raise AssertionError("500 samples are not the history")

    def scan_history(self, **asked):
        assert not asked, "with keys only rows that hold all of them come"
        yield from self._rows


class Api:
    """``wandb.Api``; its runs, or the error that asking for them ends with."""

    runs_there: list | Exception = []

    def __init__(self, timeout):
        assert timeout <= 30
        if isinstance(self.runs_there, tuple):
            raise self.runs_there[0]

    def runs(self, path, order):
        assert path == "team/proj" and order == "+created_at"
        if isinstance(self.runs_there, Exception):
            raise self.runs_there
        yield from self.runs_there


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    monkeypatch.setattr("wandb.Api", Api)
    return lambda found: monkeypatch.setattr(Api, "runs_there", found)


def test_a_project_on_wandbs_server(server, tmp_path, capsys):
    rows = [{"_step": 0, "loss": "NaN", "epoch": 0, "_runtime": 1.0}, {"_step": 7, "acc": 0.5, "epoch": 1}]
    rows += [{"_step": 9, "_timestamp": 3.0}, {"_step": 10, "loss": "Infinity", "picture": {"_type": "image-file"}}]
    server([Run("a", "finished", {"lr": 0.1, "seed": 3, "_wandb": {}}, rows, _runtime=12.5),
            Run("b", "crashed", {}, [])])  # fmt: skip
    found = analysis.load("wandb:team/proj")
    check_types(found)
    a, b = (row for _, row in found.runs.iterrows())
    assert (a["study"], a["origin"], a["state"], a["seed"], a["seconds"]) == ("proj", "wandb", "complete", 3, 12.5)
    assert a["source"] == "wandb:team/proj/a" and len(a["sha256"]) == 64 and "1 value written as text" in a["caveat"]
    assert b["state"] == "unfinished" and "calls it 'crashed'" in b["caveat"]
    epochs = found.epochs
    assert epochs["step"].tolist() == [0, 7, 10] and epochs["epoch"].tolist() == [0, 1, pd.NA]
    assert math.isnan(epochs["loss"][0]) and epochs["loss"][2] == math.inf and epochs["acc"].isna().tolist()[::2]
    assert found.arms["config.lr"].tolist() == [0.1] and found.contrasts.empty and found.studies.empty
    both = analysis.load(full(tmp_path / "demo").folder, "wandb:team/proj")
    alone = analysis.load(tmp_path / "demo")
    pd.testing.assert_frame_equal(both.contrasts, alone.contrasts)
    from analysis.__main__ import main

    assert main(["export", "wandb:team/proj", "--out", str(tmp_path / "out")]) == 0
    assert "2 runs" in capsys.readouterr().out


def test_what_goes_wrong_with_the_server_is_one_line(server, monkeypatch):
    from wandb.errors import AuthenticationError, CommError

    for error, said in (
        (ValueError("Could not find project proj"), "Could not find project proj; check its spelling"),
        (CommError("no route\nto host"), "cannot be read (no route to host); check the network"),
        ((AuthenticationError(f"bad key {'k' * 40}"),), "does not let in (bad key ...); check the key"),
    ):
        server(error)
        with pytest.raises(UsageError) as caught:
            analysis.load("wandb:team/proj")
        text = str(caught.value)
        assert said in text and "\n" not in text and "k" * 40 not in text
    for wrong in ("wandb:team", "wandb:team/proj/run", "wandb:", "wandb:a/b c"):
        with pytest.raises(UsageError, match="must be wandb:ENTITY/PROJECT"):
            analysis.load(wrong)
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(UsageError, match="no key for https://wandb.example.org; set WANDB_API_KEY"):
        analysis.load("wandb:team/proj")


# --- W&B, a chart's export


def export(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_charts_export_of_wandb(tmp_path):
    path = export(
        tmp_path / "chart.csv",
        '"Step","one - two - loss","one - two - loss__MIN","one - two - loss__MAX",'
        '"b - loss","b - loss__MIN","b - loss__MAX"\n'
        "0,1.5,1.5,1.5,,,\n10,NaN,NaN,NaN,2.5,2.5,2.5\n11,,,,-Infinity,-Infinity,-Infinity\n",
    )
    found = analysis.load(path)
    check_types(found)
    assert found.runs["run_id"].tolist() == ["one - two", "b"] and set(found.runs["origin"]) == {"wandb_csv"}
    one, b = (found.epochs[found.epochs["run_id"] == name] for name in found.runs["run_id"])
    assert one["step"].tolist() == [0, 10] and b["step"].tolist() == [10, 11]
    assert one["loss"].iloc[0] == 1.5 and math.isnan(one["loss"].iloc[1]) and b["loss"].iloc[1] == -math.inf
    assert "1 value written as text 'NaN'" in found.runs["caveat"][0] and "loss__MIN" not in found.epochs
    assert found.runs["arm_id"].isna().all() and found.arms.empty  # a chart knows no settings


def test_runs_of_one_name_stay_two(tmp_path):
    found = analysis.load(export(tmp_path / "chart.csv", "Step,run - loss,run - acc,run - loss\n0,1,5,2\n1,3,6,4\n"))
    assert found.runs["run_id"].tolist() == ["run", "run #2"]
    assert found.epochs.groupby("run_id")["loss"].agg(list).tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert found.runs["caveat"].str.contains("2 runs are named 'run'").all()


@pytest.mark.parametrize(
    "text, said",
    [("Step,run - loss,run - loss__MIN,run - loss__MAX\n0,1,1,1\n10,2.5,2,3\n",
      "run - loss is aggregated .from 2 to 3."),
     ("Step,run - loss\n0,1\n1,0,5\n", "has 3 cells under 2 columns")],
)  # fmt: skip
def test_values_that_are_no_run_s_are_refused(text, said, tmp_path):
    with pytest.raises(UsageError, match=f"line 3: {said}") as caught:
        analysis.load(export(tmp_path / "chart.csv", text))
    assert "\n" not in str(caught.value)


def test_another_csv_is_no_export(tmp_path):
    with pytest.raises(UsageError, match="nothing that can be imported"):
        analysis.load(export(tmp_path / "table.csv", "Name,State,loss\nrun,finished,3\n"))


# --- TensorBoard


def test_event_files_of_tensorboard(events):
    found = analysis.load(events)
    check_types(found)
    assert found.runs["run_id"].tolist() == ["again", "steady"] and set(found.runs["study"]) == {"logs"}
    steady = found.epochs[found.epochs["run_id"] == "steady"]
    expected = [struct.unpack("<f", struct.pack("<f", 0.1 * step))[0] for step in range(3)]
    assert steady["loss/train"].tolist() == expected and steady["step"].tolist() == [0, 1, 2]
    assert "weights" not in found.epochs and "note/text_summary" not in found.epochs and "acc" in found.epochs
    assert found.runs["caveat"].str.contains("float32").all() and found.arms.empty and found.runs["seed"].isna().all()
    assert not steady["conflict"].any()


def test_steps_of_a_restart_stand_twice(events):
    found = analysis.load(events / "again")
    assert found.epochs["step"].tolist() == [0, 1, 2, 2, 3]
    assert found.epochs["conflict"].tolist() == [False, False, True, True, False]
    assert found.epochs["loss/train"].tolist() == [0.0, 1.0, 2.0, 12.0, 13.0]
    assert "overlap" in found.runs["caveat"][0] and found.runs["sha256"][0].count(" ") == 1


def test_two_writers_of_one_file_are_told(tmp_path):
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(tmp_path / "run")) as writer:
        for value in (1.0, 2.0):  # both at once, as two writers that began in one second leave it
            writer.add_scalar("loss", value, 5)
    found = analysis.load(tmp_path / "run")
    assert found.epochs["loss"].tolist() == [1.0, 2.0] and found.epochs["conflict"].all()
    assert "twice in one file" in found.runs["caveat"][0]


def test_scalars_as_tensorflow_two_writes_them(tmp_path):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter

    path = tmp_path / "run" / "events.out.tfevents.1.box"
    path.parent.mkdir()
    writer = RecordWriter(str(path))
    for step, content in ((1, {"float_val": [0.5]}), (2, {"tensor_content": struct.pack("<f", 0.75)})):
        value = Summary.Value(tag="acc")
        value.tensor.dtype = 1
        for name, values in content.items():
            if name == "float_val":
                value.tensor.float_val.extend(values)
            else:
                value.tensor.tensor_content = values
        writer.write(Event(step=step, summary=Summary(value=[value])).SerializeToString())
    writer.close()
    assert analysis.load(path).epochs["acc"].tolist() == [0.5, 0.75]


def test_a_torn_event_file(events, tmp_path):
    shutil.copytree(events / "steady", tmp_path / "steady")
    path = next((tmp_path / "steady").iterdir())
    path.write_bytes(path.read_bytes()[:-5])
    found = analysis.load(tmp_path / "steady")
    assert "ends within a record" in found.runs["caveat"][0] and len(found.epochs) >= 2
    path.write_bytes(struct.pack("<QI", 5, 0) + b"\xff\xff\xff\xff\xff" + b"\0" * 4)
    with pytest.raises(UsageError, match="byte 0 begins no event") as caught:
        analysis.load(tmp_path / "steady")
    assert "\n" not in str(caught.value)


# --- Ray Tune


def test_an_experiment_of_ray_tune(tmp_path):
    top = tmp_path / "experiment"
    ends = [result(1, "NaN", epoch=1), result(2, '"null"', epoch=2), result(3, "Infinity", epoch=3, done=True)]
    tune(top / "trial_a", ends)
    tune(top / "trial_b", [result(1, "0.5", trial_id="ab_00001", info={"deep": {"er": 2}})], error=True)
    (top / "trial_a" / "events.out.tfevents.1.box").write_bytes(b"")  # Tune writes these too; they say less
    found = analysis.load(top)
    check_types(found)
    assert found.runs["run_id"].tolist() == ["ab_00000", "ab_00001"] and set(found.runs["origin"]) == {"ray_tune"}
    assert found.runs["state"].tolist() == ["complete", "failed"] and found.runs["host"].tolist() == ["box", "box"]
    assert found.runs["seconds"].tolist() == [4.5, 1.5] and found.runs["seed"].tolist() == [4, 4]
    first = found.epochs[found.epochs["run_id"] == "ab_00000"]
    assert first["loss"].isna().tolist() == [True, True, False] and first["loss"].iloc[2] == math.inf
    assert first["epoch"].tolist() == [1, 2, 3] and "1 value written as text 'null'" in found.runs["caveat"][0]
    assert found.epochs["info/deep/er"].tolist()[-1] == 2.0 and 99 not in found.epochs["loss"].tolist()
    assert found.arms["config.model.depth"].tolist() == [2.0] and found.runs["arm_id"].nunique() == 1
    assert len(analysis.load(top / "trial_b").runs) == len(analysis.load(top / "trial_b" / "result.json").runs) == 1


def test_what_ray_tunes_own_encoder_writes(tmp_path):
    import numpy
    from ray.air._internal.json import SafeFallbackEncoder

    results = [{"training_iteration": 1, "loss": float("nan"), "acc": numpy.float32("nan"), "rank": numpy.float32(2.5)}]
    found = analysis.load(tune(tmp_path / "trial", [json.dumps(one, cls=SafeFallbackEncoder) for one in results]))
    assert found.epochs[["loss", "acc"]].isna().all(axis=None) and found.epochs["rank"].tolist() == [2.5]
    assert "'null'" in found.runs["caveat"][0]


def test_iterations_that_repeat_after_a_restore(tmp_path):
    lines = [result(1, "1"), result(2, "2"), result(2, "2.5"), result(3, "3"), result(3, "3"), '{"torn']
    folder = tune(tmp_path / "trial", lines)
    (folder / "result.json").write_text((folder / "result.json").read_text().rstrip("\n"))
    found = analysis.load(folder)
    assert found.epochs["loss"].tolist() == [1.0, 2.0, 2.5, 3.0, 3.0]
    assert found.epochs["conflict"].tolist() == [False, True, True, False, False]  # the same value is no conflict
    assert "iterations repeat" in found.runs["caveat"][0] and "torn" in found.runs["caveat"][0]


@pytest.mark.parametrize("text", ["not json\n" + result(1, "1") + "\n", "[1]\n", "[" * 100_000 + "\n{}\n"])
def test_a_damaged_result_is_one_line(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(UsageError, match="line 1 is not") as caught:
        analysis.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_empty_result(tmp_path):
    found = analysis.load(tune(tmp_path / "trial", []))
    assert (
        "no result was recorded" in found.runs["caveat"][0] and found.epochs.empty and found.runs["epoch"].isna().all()
    )


# --- all of them


def damaged(raw: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(raw)
    for place, value in changes:
        changed[place % len(changed)] = value
    return bytes(changed[: cut % (len(changed) + 1)] if cut else changed)


CHANGES = st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 255)), max_size=4)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(kind=st.sampled_from(["wandb", "csv", "tune", "events"]), changes=CHANGES, cut=st.sampled_from([0, 3, 40, 300]))
def test_a_damaged_file_is_read_or_refused_in_one_line(offline, events, tmp_path_factory, kind, changes, cut):
    folder = tmp_path_factory.mktemp("damaged")
    lines = [result(1, "NaN", epoch=1), result(2, "1e400", epoch=1e300, training_iteration=10**30, info={"_type": "x"})]
    name, raw = {
        "wandb": lambda: ("run-x.wandb", next(offline.rglob("run-*.wandb")).read_bytes()),
        "csv": lambda: ("chart.csv", b"Step,a - loss,a - loss__MIN,a - loss__MAX\n0,1,1,1\n\n1e30,NaN,NaN,NaN\n2\n"),
        "tune": lambda: ("result.json", "".join(f"{line}\n" for line in lines).encode()),
        "events": lambda: ("events.out.tfevents.1.x", next((events / "steady").iterdir()).read_bytes()),
    }[kind]()
    (folder / name).write_bytes(damaged(raw, changes, cut))
    try:
        runs = imported(folder / name) or []
    except UsageError as error:
        assert "\n" not in str(error) and name in str(error)
        return
    for kind in ("runs", "epochs", "arms"):
        frame(kind, [row for run in runs for row in run.rows().get(kind, [])])


def test_a_path_that_is_too_deep_is_not_searched(tmp_path):
    path = tmp_path / "a" / "b" / "c" / "d" / "e" / "run-x.wandb"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    with pytest.raises(UsageError, match="nothing that can be imported"):
        analysis.load(tmp_path)


def test_foreign_rows_reach_no_test_and_no_mean(offline, events, tmp_path):
    folder = full(tmp_path / "demo").folder
    trial = tune(tmp_path / "experiment" / "trial", [result(1, "1")])
    chart = export(tmp_path / "chart.csv", "Step,run - loss\n0,1\n")
    alone = analysis.load(folder)
    everything = analysis.load(folder, offline, events, trial, chart, analysis.REFERENCE)
    check_types(everything)
    pd.testing.assert_frame_equal(alone.contrasts, everything.contrasts)
    pd.testing.assert_frame_equal(alone.studies, everything.studies)
    assert {one.origin for one in IMPORTERS} | {"study"} == set(everything.runs["origin"])
    foreign = everything.arms[everything.arms["origin"] != "study"]
    assert foreign[["mean", "n", "low", "high"]].isna().all(axis=None) and set(foreign["role"]) == {"foreign"}
    assert not everything.arms.duplicated(["study", "arm_id", "role"]).any()
    assert everything.runs["source"].notna().all()
    of_others = everything.runs[everything.runs["origin"] != "study"]
    assert of_others["sha256"].notna().all() and of_others["phase"].isna().all()


def test_a_study_is_not_read_as_what_lies_beside_it(offline, tmp_path):
    folder = full(tmp_path / "demo").folder
    shutil.copytree(offline / "wandb", folder / "wandb", symlinks=True)
    assert set(analysis.load(folder).runs["origin"]) == {"study"} == set(analysis.load(tmp_path).runs["origin"])


def test_importing_needs_no_reader_before_it_is_used():
    code = "import sys, analysis, analysis.report, analysis.page.sections; analysis.load(analysis.REFERENCE);"
    code += "print([m for m in ('wandb', 'tensorboardX', 'ray', 'torch', 'optuna') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
