"""A second family goes the ordinary way, and the loop knows neither: trained, probed, stopped, resumed, judged and
evaluated."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainer import families, presets
from trainer.data.images import load_images
from trainer.errors import RecordError, UsageError
from trainer.loop import train
from trainer.meter import Meter
from trainer.method import trained_parameters
from trainer.record import identity
from trainer.record.identity import arm_id, run_id
from trainer.record.run import comparable, read
from trainer.step import forward, make_optimiser, optimise

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SMALL = [
    "family=tiny",
    "model.encoder.width=4",
    "data.sizes=[128,64,64]",
    "optim.batch_size=32",
    "eval.probe_epochs=[1]",
]
SCHEDULE = ["schedule.horizon_epochs=3", "schedule.warmup_epochs=1"]


@pytest.fixture(autouse=True, scope="module")
def folders():
    """What the environment variable does when a process starts."""
    families.__path__.append(str(HERE / "families"))
    yield
    families.__path__.remove(str(HERE / "families"))


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    path = tmp_path_factory.mktemp("preset") / "tiny.yaml"
    path.write_text(
        "family: tiny\ngates: {half: {epoch: 2, linacc_min: 5, rank_agg_min: 1.01}, actions: {epoch: 2, rank_agg_min:"
        " 1, r2_action_min: 0}}\n"
    )
    return str(path)


def tiny(preset, *overrides, **settings):
    return presets.load(
        preset, [*SMALL, *SCHEDULE, *overrides], {"runtime.across_commits": True, "epochs": 3, **settings}
    )


def lines(folder, run):
    return list(read(folder / run_id(run) / "records.jsonl"))


def test_it_is_trained_probed_judged_and_evaluated(preset, tmp_path, capsys):
    run, seen = tiny(preset), []
    result = train(run, tmp_path, report=seen.append, gate="half", baselines=True)
    written = lines(tmp_path, run)
    assert [(line["event"], line["epoch"]) for line in written] == [
        ("eval", 0),
        *((e, k) for k in (1, 2, 3) for e in ("epoch", "eval")),
        ("stop", 3),
    ]
    epochs = [line for line in written if line["event"] == "epoch"]
    assert {"term/near", "term/far", "weighted/rate", "rate_nats/code", "loss/total"} <= epochs[0]["metrics"].keys()
    assert [line["centre_share"] for line in epochs] == [None, pytest.approx(0.1), pytest.approx(0.1)]
    assert written[-1]["gate"]["passed"] and result["stopped"] == "completed"
    # the score is what its headline says, carried forward between probe epochs
    probed = {line["epoch"]: line["metrics"].get("linacc/code@1") for line in written if line["event"] == "eval"}
    assert [report["score"] for report in seen] == [probed[1], probed[2], probed[3]] and None not in probed.values()
    assert all(line["metrics"]["norm_sum/code@1"] > 0 for line in written if line["event"] == "eval" and line["epoch"])

    from trainer.evaluate import main

    folder = str(tmp_path / run_id(run))
    assert main(["--checkpoint", folder, "--protocol", "ridge", "--views", "1"]) == 0
    (line,) = read(tmp_path / run_id(run) / "evaluation.jsonl")
    assert (
        line["metrics"]["linacc/code@1"] == pytest.approx(probed[3])
        and line["metrics"]["observed"] == 3 * run.steps_per_epoch
    )
    assert line["metrics"]["untrained_linacc/code@1"] == pytest.approx(probed[0])
    assert main(["--checkpoint", folder, "--subspace"]) == 2
    assert "nothing is swept in this family" in capsys.readouterr().err


def test_a_gate_on_what_it_does_not_measure_fails(preset, tmp_path):
    run = tiny(preset, epochs=2)
    train(run, tmp_path, gate="actions")
    assert not lines(tmp_path, run)[-1]["gate"]["passed"]


def test_it_resumes_bit_for_bit(preset, tmp_path):
    long, short = tiny(preset), tiny(preset, epochs=1)
    train(long, tmp_path / "whole")
    train(short, tmp_path / "parts")
    train(long, tmp_path / "parts")
    whole, parts = (
        [comparable(line) for line in lines(tmp_path / name, long) if line["event"] == "epoch"]
        for name in ("whole", "parts")
    )
    assert len(whole) == 3 and whole == parts


def test_it_diverges_like_any_other(preset, tmp_path):
    seen = []
    run = tiny(preset, "optim.lr=1", "precision=fp32")
    poisoned = load_images(run)
    poisoned.images[0, 0, 0, 0] = 255
    original = torch.nn.Linear.forward
    torch.nn.Linear.forward = lambda self, x: original(self, x) * float("nan")
    try:
        result = train(run, tmp_path, report=seen.append, images=poisoned)
    finally:
        torch.nn.Linear.forward = original
    assert result["stopped"].startswith("diverged by step 0") and seen[-1]["diverged"] and seen[-1]["score"] is None


@pytest.mark.parametrize(
    "change",
    [
        "model.momentum=0.5",
        "model.lr_scale=3",
        "model.clip_norm=0.001",
        "objective.weights.far=0",
        "objective.rate.form=ln",
        "model.encoder.width=5",
    ],
)
def test_its_settings_are_an_arm_of_their_own_and_act(preset, tmp_path, change):
    base, other = tiny(preset, epochs=3), tiny(preset, change, epochs=3)
    assert arm_id(base) != arm_id(other)
    found = []
    for run in (base, other):
        train(run, tmp_path)
        found.append([line["metrics"]["loss/total"] for line in lines(tmp_path, run) if line["event"] == "epoch"][-1])
    assert found[0] != found[1]


def test_each_group_has_its_rate_and_its_clipping(preset):
    """One step of plain Adam moves every parameter by its group's rate; clipping alone decides the gradients' norms."""
    run = tiny(
        preset,
        "model.lr_scale=0.5",
        "model.clip_norm=0.01",
        "optim.clip_norm=0.03",
        "optim.weight_decay=0",
        "precision=fp64",
    )
    family = families.load("tiny")
    source = family.source(run, load_images(run), torch.float64)
    method = family.make(run, source).double()
    optimiser = make_optimiser(run, method)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    optimise(run, 0, method, method, optimiser, source.next())
    rate = optimiser.param_groups[0]["lr"]
    assert optimiser.param_groups[1]["lr"] == pytest.approx(0.5 * rate)
    norms = {
        part: torch.cat([p.grad.flatten() for p in getattr(method, part).parameters()]).norm()
        for part in ("encoder", "predictor")
    }
    assert float(norms["encoder"]) == pytest.approx(0.03, rel=1e-3) and float(norms["predictor"]) == pytest.approx(
        0.01, rel=1e-3
    )
    moved = {name: float((p.detach() - before[name]).abs().max()) for name, p in method.named_parameters()}
    assert moved["predictor.weight"] == pytest.approx(0.5 * rate, rel=1e-3) and max(
        v for n, v in moved.items() if "encoder" in n
    ) == pytest.approx(rate, rel=1e-3)


ENCODER = [
    "model.encoder={name: conv, width: 4}",
    "model.action_dim=8",
    "model.layers=1",
    "model.heads=4",
    "model.predictor_hidden=16",
    "optim.batch_size=8",
]
GENERATED = ["data.generated=true", "data.sizes=[32,8,8]", *ENCODER]
GLIMPSE = "data={name: cifar10, transform: glimpse, canvas: 16, glimpse: {radius: 4}}"
OBJECT = "data={name: 3diebench, transform: object}"
PAIRS = {
    "rotation": ("digits", []), "affine": ("digits", ["data.transform=affine"]), "symmetric": ("digits",
    ["objective.symmetric=true"]),
    "augment": ("cifar100_aug_gate", GENERATED), "glimpse": ("digits", [GLIMPSE, *GENERATED]), "object": ("digits",
    [OBJECT, *GENERATED]),
}  # fmt: skip


@pytest.mark.parametrize("name", ["tiny", *PAIRS])
def test_every_pair_of_source_and_family_takes_two_steps(preset, name):
    run = tiny(preset) if name == "tiny" else presets.load(*PAIRS[name])
    family = families.load(run.family)
    images = load_images(run)
    source = family.source(run, images, torch.float32)
    method = family.make(run, source)
    probes, optimiser, meter = (
        family.probes(run, images, source, method, torch.device("cpu")),
        make_optimiser(run, method),
        Meter(method.weights),
    )
    for step in range(2):
        batch = source.next()
        output, loss = optimise(run, step, method, method, optimiser, batch)
        probes.keep(probes.observe(output, batch))
        meter.add(meter.values(output, loss))
    assert source.step == 2 and torch.isfinite(meter.total)
    assert float(forward(run, "cpu", method, method.weights, batch)[1].detach()) == pytest.approx(
        float(loss.detach()), abs=1
    )


def test_what_it_has_not_is_refused_in_one_line(preset):
    with pytest.raises(UsageError, match=r"objective.teacher: unknown key; known here: rate, weights"):
        tiny(preset, "objective.teacher=ema")
    with pytest.raises(
        UsageError,
        match="family = 'tyni': must be one of h_jepa, seq_jepa, tiny; folders that hold others are named in .SEQ_JEPA",
    ):
        presets.load("digits", ["family=tyni"])
    for name in ("../tiny", "os", "", 3):
        with pytest.raises(UsageError, match="must be one of"):
            presets.load("digits", [], {"family": name})
    with pytest.raises(UsageError, match="unknown key.* preset digits is of family seq_jepa: write one of family tiny"):
        presets.load("digits", ["family=tiny"])


WRONG = {
    "__init__": {
        ("def probes", "def probez"): r"lacks probes; \S+families.__init__.py says what each is",
        ('"score"', '"scores"'): "its headline names scores, rank, but no score",
    },
    "learning": {
        ("self.step += 1", "self.seen = 1"): "step is 0 after 1 batches; it must count them, or the run never ends",
        ('{"step": self.step, ', "{"): "state_dict.*holds no step; add it, or a stopped run cannot be continued",
        ("Group(list(self.encoder.parameters()), decay),", ""): r"encoder.\S+, encoder.* not in exactly one group",
        ("(self.predictor.parameters()", "(self.parameters()"): r"encoder.\S+, encoder.* not in exactly one group",
        ('Output({"near": near, ', "Output({"): r"loss terms .'far', 'rate'. and weights .* must have the same names",
    },
}


@pytest.mark.parametrize("file, change, said", [(file, *one) for file, found in WRONG.items() for one in found.items()])
def test_a_family_that_is_not_whole_is_refused_in_a_sentence(preset, tmp_path, monkeypatch, file, change, said):
    name = f"t{abs(hash((change, said)))}"
    shutil.copytree(HERE / "families" / "tiny", tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / name / f"{file}.py"
    assert change[0] in path.read_text(encoding="utf-8")
    path.write_text(path.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    with pytest.raises(UsageError, match=said):
        train(tiny(preset, f"family={name}", epochs=1), tmp_path / "runs")


def test_its_parameters_and_metrics_are_known_like_those_that_ship(monkeypatch):
    from studies.engine import metrics

    own = ("norm_sum/code@1", "sum of norms", "", True)
    monkeypatch.setattr(families.load("tiny"), "METRICS", (own,), raising=False)
    metrics.known.cache_clear()
    assert metrics.metric(own[0]) == metrics.Metric(*own)
    metrics.known.cache_clear()
    # what runs never have is refused before they are trained; what they have is not
    for family, has, lacks in (
        ("digits", "linacc/z_1@1", "knn20/z_agg@M"),
        ("digits", "r2_action", "std/z_agg@M"),
        ("h_jepa_digits", "knn20/z_agg@M", "linacc/z_1@1"),
        ("h_jepa_digits", "rankme/z@M", "r2_action"),
        ("h_jepa_digits", "predict/z_hat@M", "r2_action.feature_std/z_pair@2"),
    ):
        metrics.check_recorded([has], presets.load(family))
        with pytest.raises(UsageError, match="runs of family .* do not record it"):
            metrics.check_recorded([lacks], presets.load(family))
    method = torch.nn.Module()
    method.body, method.token = torch.nn.Linear(2, 3), torch.nn.Parameter(torch.zeros(4))
    assert trained_parameters(method) == {"body": 9, "token": 4, "total": 13}


def test_it_is_trained_from_the_command_line(preset, tmp_path):
    """A folder of one's own is found by the environment; the console's lines have the family's columns."""
    command = [
        sys.executable,
        "-m",
        "trainer",
        "--preset",
        preset,
        "--results-dir",
        str(tmp_path),
        "--gate",
        "none",
        "--epochs",
        "1",
        *SMALL[1:],
        *SCHEDULE,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SEQ_JEPA_FAMILIES": str(HERE / "families")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        "near: loss of the lower noise" in done.stdout
        and "epoch    1  linacc" in done.stdout
        and "rank z" not in done.stdout
    )
    del environment["SEQ_JEPA_FAMILIES"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and "family = 'tiny': must be one of h_jepa, seq_jepa" in done.stderr


def test_nothing_outside_a_family_names_one():
    for path in (ROOT / "trainer").rglob("*.py"):
        if "families" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = node.module if isinstance(node, ast.ImportFrom) else None
            assert not (named or "").startswith("trainer.families."), path


@pytest.mark.parametrize("metric", ["linacc/z_agg@M", "linacc/code@1"])
def test_a_study_of_a_family_with_another_score_is_refused(preset, tmp_path, capsys, metric):
    from studies import Study

    study = Study(
        name="s", question="A?", space=lambda trial: {"optim.lr": trial.suggest_float("lr", 1e-4, 1e-2)}, metric=metric
    )
    words = [
        "--preset",
        preset,
        *SMALL[:-1],
        "--dry-run",
        "--executor",
        "process",
        "--results-dir",
        str(tmp_path / "results"),
    ]
    assert study.main(words) == 2
    out, said = capsys.readouterr()
    known = "family = 'tiny': is judged by linacc/code@1, but a study ranks and compares runs by linacc/z_agg@M"
    assert (known if metric == "linacc/z_agg@M" else "metric 'linacc/code@1': no study records it") in said
    assert said.count("\n") == 1 and not out and not (tmp_path / "results").exists()


def test_the_code_of_a_family_elsewhere_is_on_record_and_compared(preset, tmp_path, monkeypatch):
    shutil.copytree(
        HERE / "families" / "tiny", tmp_path / "families" / "teeny", ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path / "families")])
    for known in (identity.provenance, identity.family_code):
        monkeypatch.setattr(identity, known.__name__, known.__wrapped__)
    assert "family" not in identity.provenance() and identity.family_code("seq_jepa") is None
    now = identity.provenance("teeny")
    assert now["family"] == {"name": "teeny", "code": identity.family_code("teeny")}
    assert {name: now[name] for name in ("commit", "code")} == {
        name: identity.provenance()[name] for name in ("commit", "code")
    }
    before = [{"provenance": {name: value for name, value in now.items() if name != "family"}}]
    assert identity.other_code(before) is None and identity.other_code([{"provenance": now}]) is None
    with (tmp_path / "families" / "teeny" / "learning.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert identity.other_code(before) is None
    found = identity.other_code([{"provenance": now}])
    assert (
        found.startswith(f"recorded by code {now['family']['code']} of family teeny, which is now ")
        and "ships" not in found
    )


def test_a_run_of_a_family_with_other_sources_is_not_continued(preset, tmp_path):
    run = tiny(preset, epochs=1, **{"runtime.across_commits": False})
    train(run, tmp_path)
    path = tmp_path / run_id(run) / "records.jsonl"
    code = lines(tmp_path, run)[0]["provenance"]["family"]["code"]
    assert code == identity.family_code("tiny")
    path.write_text(path.read_text(encoding="utf-8").replace(code, "0123456789abcdef"), encoding="utf-8")
    with pytest.raises(RecordError, match="recorded by code 0123456789abcdef of family tiny"):
        train(run, tmp_path)
