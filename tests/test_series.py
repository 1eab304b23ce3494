"""What W&B and TensorBoard are given: every series of the record, under our names and the research log's."""

import json
import re
from pathlib import Path

import pytest
from small import config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from trainer.__main__ import main
from trainer.mirrors import series
from trainer.mirrors.mirror import Mirrors
from trainer.record.run import read

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = [
    "model.encoder.width=4", "model.action_dim=8", "model.predictor_hidden=32", "model.layers=2",
    "data.sizes=[128,64,64]", "eval.action_probe=true",
    "objective.teacher=ema", "objective.ema.half_life=0.1", "objective.weights.rate=0.1",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run that was interrupted after two epochs and went on to the third, with TensorBoard events."""
    folder = tmp_path_factory.mktemp("series")
    for epochs in ("2", "3"):
        words = [
            "--results-dir",
            str(folder),
            "--across-commits",
            "--epochs",
            epochs,
            "--gate",
            "none",
            "--wandb",
            "off",
            "--tensorboard",
        ]
        assert main([*words, *SETTINGS]) == 0
    (found,) = (folder / "single" / "runs").iterdir()
    return found


def scalars(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


def test_tensorboard_holds_every_finite_number_of_the_record_once(run):
    found = scalars(run / "tensorboard")
    wanted = {}
    for line in read(run / "records.jsonl"):
        for name, value in line["metrics"].items():
            if value is not None:
                wanted.setdefault(name, {})[line["epoch"]] = value
    assert {name: found[name] for name in wanted} == {
        name: pytest.approx(points, rel=1e-6) for name, points in wanted.items()
    }
    assert len(list((run / "tensorboard").glob("events*"))) == 1


def test_tensorboard_holds_the_settings_for_its_page_of_them(run):
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    raw = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    found = HParamsPluginData.FromString(raw).session_start_info.hparams
    weights = next(read(run / "records.jsonl"))["config"]["objective"]["weights"]
    assert {name: found[f"objective.weights.{name}"].number_value for name in weights} == weights
    assert found["arm"].string_value == run.name and found["data.name"].string_value == "digits"
    assert found["data.anchor_first"].WhichOneof("kind") == "bool_value"
    assert not any(name.startswith("runtime") for name in found)


def test_rates_terms_schedule_and_teacher_are_series(run):
    found = scalars(run / "tensorboard")
    for name in (
        "loss/total",
        "term/predict",
        "term/rate",
        "weighted/rate",
        "rate_nats/agg",
        "rate_utilisation/agg",
        "lr",
        "ema_decay",
        "samples_seen",
    ):
        assert sorted(found[name]) == [1, 2, 3], name
    epochs = {line["epoch"]: line for line in read(run / "records.jsonl") if line["event"] == "epoch"}
    assert found["lr"] == {epoch: pytest.approx(line["lr"]) for epoch, line in epochs.items()}


def test_the_logs_names_carry_the_same_quantity(run):
    found = scalars(run / "tensorboard")
    settings = config(*SETTINGS)
    for log, ours in series.log_names(settings).items():
        if log != "gate_pass":  # the run judged none
            assert found[f"log/{log}"] == found[ours] and len(found[ours]) >= 3, log


def test_every_exported_log_name_is_explained_in_the_table_of_names():
    text = (ROOT / "trainer" / "COMPATIBILITY.md").read_text(encoding="utf-8")
    names = series.log_names(config("data.observed_views=3"))
    for log, ours in names.items():
        stated = ours.replace("@3", "@M").replace("sd", "S") if "@" in ours else ours
        assert re.search(rf"^\| `{log}` \| `{re.escape(ours.replace('@3', '@M').split('.')[0])}", text, re.M), (
            log,
            stated,
        )


def line(event, **fields):
    return {"event": event, "epoch": 1, "step": 3, "samples_seen": 12, "metrics": {}, **fields}


def test_a_gate_is_a_series_and_what_is_not_finite_is_left_out():
    settings = config()
    verdict = {"gate": "quick", "passed": True, "reasons": ["ok"]}
    assert series.values(line("stop", gate=verdict), settings) == {"gate/passed": 1.0, "log/gate_pass": 1.0}
    assert series.values(line("stop", gate=None), settings) == {}
    assert series.values(line("eval", metrics={"linacc/z_agg@3": None, "rank_sv_live/z@3": 4.0}), settings) == {
        "rank_sv_live/z@3": 4.0,
        "log/rank_eq_eff": 4.0,
    }


class Kept:
    since, trouble = 0, None

    def __init__(self):
        self.logged, self.figures, self.verdicts = [], [], []

    def log(self, epoch, values):
        self.logged.append((epoch, values))

    def verdict(self, epoch, passed, gate, reasons):
        self.verdicts.append((epoch, gate, passed))

    def figure(self, name, path):
        self.figures.append(name)

    def close(self):
        pass


def test_a_record_that_is_being_written_is_followed_line_by_line(tmp_path):
    mirrors, kept = Mirrors(config(), "s", "label", tmp_path, "off", False), Kept()
    mirrors._mirrors.append(kept)
    path = tmp_path / "records.jsonl"
    mirrors.follow()
    whole = (
        json.dumps(line("epoch", metrics={"loss/total": 1.0}, lr=0.1, ema_decay=None))
        + "\n"
        + json.dumps(line("eval", metrics={"a/b": 2.0}))
        + "\n"
    )
    for cut in range(0, len(whole), 7):
        path.write_text(whole[:cut])
        mirrors.follow()
    path.write_text(whole + json.dumps(line("stop", gate={"gate": "g", "passed": False, "reasons": []})) + "\n")
    (tmp_path / "circle.png").write_bytes(b"")
    mirrors.close()
    told = {}
    for epoch, values in kept.logged:
        assert epoch == 1 and not told.keys() & values.keys(), "nothing is told twice"
        told |= values
    assert told == {
        "loss/total": 1.0, "log/ep_loss": 1.0, "lr": 0.1, "step": 3, "samples_seen": 12, "a/b": 2.0,
        "gate/passed": 0.0, "log/gate_pass": 0.0,
    }  # fmt: skip
    assert kept.verdicts == [(1, "g", False)] and kept.figures == ["figures/circle"]


def test_a_mirror_that_breaks_is_given_up_and_said_and_the_others_go_on(tmp_path, capsys):
    mirrors, kept = Mirrors(config(), "s", "label", tmp_path, "off", False), Kept()

    class Broken(Kept):
        def log(self, epoch, values):
            raise RuntimeError("no more room")

    mirrors._mirrors += [Broken(), kept]
    (tmp_path / "records.jsonl").write_text(json.dumps(line("eval", metrics={"a/b": 2.0})) + "\n")
    mirrors.follow()
    assert kept.logged == [(1, {"a/b": 2.0})] and "no more room" in mirrors.trouble
    assert capsys.readouterr().err.count("no more room") == 1


def test_the_figures_of_a_report_are_images(tmp_path):
    import matplotlib.image
    import numpy as np

    from trainer.mirrors.mirror import Report, show_report

    (tmp_path / "report").mkdir()
    figure = tmp_path / "report" / "curves.png"
    matplotlib.image.imsave(figure, np.random.default_rng(0).random((8, 12, 4)))
    report = Report([figure], {}, [figure], {"verdict": {"a minus b": "better"}})
    assert show_report(report, config(), "s", tmp_path / "report", "off", True) is None
    events = EventAccumulator(str(tmp_path / "report" / "tensorboard"))
    events.Reload()
    (image,) = events.Images("figures/curves")
    assert (image.height, image.width) == (8, 12) and "verdict/text_summary" in events.Tags()["tensors"]
