"""Every preset: builds, keeps its identity through a trial's task, and runs from the command line on a few images."""

import json
import math
import re

import pytest
import torch
from on_disk import write_cifar10, write_cifar100, write_mnist

from trainer import presets
from trainer.__main__ import main
from trainer.config import SETS
from trainer.data.images import load_images
from trainer.data.views import Views
from trainer.families.seq_jepa.probing.online import OnlineProbe
from trainer.gates import judge
from trainer.probes import regression
from trainer.record.identity import run_id
from trainer.record.run import read
from trainer.subspace.sweeps import factor_sweeps

NAMES = presets.names()
TINY = [
    "model.encoder.width=8", "model.action_dim=8", "model.predictor_hidden=16", "model.layers=1", "optim.batch_size=8",
    "schedule.warmup_epochs=0", "schedule.start_lr_ratio=null", "schedule.horizon_epochs=2", "eval.probe_epochs=[1]",
    "data.sizes=[16,8,8]", "data.draws_per_epoch=1",
]  # fmt: skip


OF_FAMILY = {
    "h_jepa": [
        "model.encoder.width=8", "model.encoder.vit.depth=1", "model.encoder.vit.heads=2", "model.predictor.width=8",
        "model.predictor.depth=1", "model.predictor.heads=1", *TINY[4:],
    ],
}  # fmt: skip


def tiny(name):
    """Overrides that make a preset run in a second or less: at most 32 images, reduced width."""
    config = presets.load(name)
    words = [
        *(OF_FAMILY.get(config.family, TINY)),
        f"data.generated={'true' if SETS[config.data.name].test_is_published else 'false'}",
    ]
    if config.family == "seq_jepa" and config.model.encoder.patches is not None:
        words += [f"model.encoder.{config.model.encoder.name}.{word}" for word in ("heads=2", "depth=1")]
    if config.data.name == "stl10":
        words.append("data.unlabelled=0")
    if config.data.mixture is not None:
        sets = [
            {"name": one.name, "weight": one.weight} | ({} if one.name == config.data.name else {"sizes": [16, 8, 8]})
            for one in config.data.mixture
        ]
        words += [f"data.mixture={json.dumps(sets)}", "data.epoch_images=32"]
    if getattr(config.model, "fpn", None) is not None:
        words.append("model.fpn.width=8")
    if hasattr(config.eval, "subspace") and config.eval.subspace.epochs:
        words.append("eval.subspace={epochs: [1], anchors: 8, steps: 8}")
    return words


def kinds(tree):
    """Settings with every number of floating point reduced to its sign: a rate of 0.1 runs where one of 0.03 does."""
    if isinstance(tree, dict):
        return {name: kinds(part) for name, part in tree.items()}
    if isinstance(tree, list):
        return [kinds(part) for part in tree]
    return (tree > 0) - (tree < 0) if isinstance(tree, float) else tree


def shape(name):
    """All that decides which code a tiny preset runs through; gates and runtime settings decide none."""
    config = presets.load(name, tiny(name), {"epochs": 1}).model_dump(mode="json")
    return repr(kinds({part: settings for part, settings in config.items() if part not in ("gates", "runtime")}))


# of presets that differ in the size of a rate or a weight alone, one is run; all real sizes are gone through in
# test_real_sizes.py
DIFFERENT = list({shape(name): name for name in reversed(NAMES)}.values())


@pytest.mark.parametrize("name", sorted(DIFFERENT))
def test_a_preset_runs_from_the_command_line(name, tmp_path, capsys, monkeypatch):
    # of probes whose score on 16 images nobody reads: most of the time
    monkeypatch.setattr(regression, "STEPS", 2)
    monkeypatch.setattr(OnlineProbe, "HIDDEN", 16)
    command = [
        "--preset",
        name,
        "--epochs",
        "1",
        "--gate",
        "none",
        "--results-dir",
        str(tmp_path),
        "--across-commits",
        *tiny(name),
    ]
    assert main(command) == 0, capsys.readouterr().err
    (path,) = tmp_path.glob("single/runs/*/records.jsonl")
    lines = list(read(path))
    split = presets.load(name).data.select_on
    measured = [line for line in lines if line["event"] == "eval" and line["epoch"] == 1]
    assert measured and all(line["split"] == split for line in measured)
    m = presets.load(name).data.observed_views
    metrics = measured[0]["metrics"]
    assert {f"linacc/z_agg@{m}", f"rank_pr/z@{m}", f"predict/z_hat@{m}"} <= metrics.keys()
    assert all(
        math.isfinite(value)
        for key, value in metrics.items()
        if value is not None and key.startswith(("linacc", "rank", "predict"))
    )
    assert lines[-1]["reason"] == "completed"


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_survives_the_way_to_a_trial_process(name):
    config = presets.load(name)
    assert run_id(presets.build(config.model_dump(mode="json"))) == run_id(config)


def test_presets_are_different_arms_or_say_why_not():
    seen = {}
    for name in NAMES:
        seen.setdefault(run_id(presets.load(name)), []).append(name)
    # what the log's runs had in common is its experiment A
    assert [v for v in seen.values() if len(v) > 1] == [
        ["cifar10_rot_as_logged", "step2_exp_a_ema_rate_cifar10rot_as_logged"]
    ]


@pytest.mark.parametrize("name", NAMES)
def test_logged_presets_say_that_they_select_on_test_and_the_others_do_not(name):
    config = presets.load(name)
    assert (config.data.select_on == "test") == name.endswith("_as_logged")
    if not name.endswith("_as_logged") and hasattr(config.model, "dropout"):
        # dropout 0 except where the paper or its code is reproduced, which had no rate
        reproduces = config.data.action_scale == "views" or config.schedule.horizon_epochs >= 1000
        assert (config.model.dropout == 0) == (not reproduces or config.objective.weights.rate > 0)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("_as_logged")])
def test_gates_fail_for_the_untrained_encoder_and_for_a_collapsed_one(name):
    config = presets.load(name)
    assert config.gates
    m = config.data.observed_views
    untrained = {
        f"linacc/z_agg@{m}": 20.0,
        f"rank_pr/z_agg@{m}": 3.0,
        f"rank_pr/z@{m}": 8.0,
        f"r2_action.{config.data.action_scale}/z_pair@2": 0.9,
    }
    # a collapsed code can still read the action, and its accuracy can exceed the untrained one's by some points
    collapsed = untrained | {f"rank_pr/z_agg@{m}": 1.1, f"rank_pr/z@{m}": 1.7, f"linacc/z_agg@{m}": 28.0}
    # smoke asks only whether it runs
    for gate, rule in ((gate, rule) for gate, rule in config.gates.items() if gate != "smoke"):
        for end in (untrained, collapsed):
            lines = [
                {"event": "eval", "split": config.data.select_on, "epoch": epoch, "metrics": metrics}
                for epoch, metrics in ((0, untrained), (rule.epoch, end))
            ]
            assert not judge(config, gate, lines).passed


@pytest.mark.parametrize("name", [name for name in NAMES if "smoke" in presets.load(name).gates])
def test_smoke_passes_whatever_runs_and_is_finite(name):
    """A run of an epoch has learnt nothing yet, and may be worse than its untrained encoder."""
    config = presets.load(name)
    m, scale = config.data.observed_views, config.data.action_scale
    start = {f"linacc/z_agg@{m}": 20.0, f"rank_pr/z_agg@{m}": 9.0, f"rank_pr/z@{m}": 9.0}
    end = {f"linacc/z_agg@{m}": 1.0, f"rank_pr/z_agg@{m}": 1.0, f"rank_pr/z@{m}": 1.0, f"predict/z_hat@{m}": 1.9}
    end |= {f"r2_action.{scale}/z_pair@2": -9.0}
    lines = [
        {"event": "eval", "split": config.data.select_on, "epoch": epoch, "metrics": metrics}
        for epoch, metrics in ((0, start), (config.gates["smoke"].epoch, end))
    ]
    # the log's own smoke gates are kept as they were logged
    assert judge(config, "smoke", lines).passed is not name.endswith("_as_logged")


def test_what_a_preset_says_is_better_has_its_interval():
    """Comments outlive the seeds they were written on: a comparison says how large it was and how sure, or on what one
    seed it rests."""
    compared = 0
    for path in presets.FOLDER.rglob("*.yaml"):
        said = " ".join(line.lstrip("# ") for line in path.read_text().splitlines() if line.startswith("#"))
        for sentence in re.split(r"(?<=\.) ", said.replace("e.g. ", "")):
            if re.search(r"\b(best|better|worse|beats?|optimal|optimum|wins)\b", sentence):
                compared += 1
                sure = re.search(r"-?[\d.]+ (points )?\[-?[\d.]+, -?[\d.]+\]|one seed", sentence)
                assert sure, (path.name, sentence)
    assert compared >= 8


def test_the_diagnostics_of_the_cifar_preset_sweep_every_factor_of_the_logs_affine_data():
    config = presets.load("cifar10_subspace", tiny("cifar10_subspace"), {"epochs": 1})
    images = load_images(config)
    views = Views(config, images, torch.float32)
    swept = factor_sweeps(config, images, views, images.splits["validation"][:4], 8)
    ends = {name: float(one.values.max()) for name, one in swept.items()}
    assert list(ends) == ["rotation", "shift_x", "shift_y", "scale"] and config.eval.subspace.epochs
    for name, most in {"rotation": 30.0, "shift_x": 0.25, "shift_y": 0.25, "scale": math.log(1.25)}.items():
        assert 0.7 * most < ends[name] <= most, name  # of eight values, in the middle of their shares


def test_the_bar_of_step_3_is_a_gate():
    """Accuracy and R2 that the log's transformer nearly keeps, in the units it reported; 0.1 less of either fails."""
    for name in ("step3_crate_cifar100_2000", "step3_crate_alpha_cifar100_2000", "step4_tost_cifar100_2000"):
        config = presets.load(name)
        start = {"linacc/z_agg@3": 15.0, "rank_pr/z_agg@3": 3.0}
        for linacc, r2, passes in ((57.84, 0.739, True), (54.9, 0.739, False), (57.84, 0.69, False)):
            end = {"linacc/z_agg@3": linacc, "rank_pr/z_agg@3": 20.0, "r2_action.views/z_pair@2": r2}
            lines = [
                {"event": "eval", "split": config.data.select_on, "epoch": epoch, "metrics": metrics}
                for epoch, metrics in ((0, start), (2000, end))
            ]
            assert judge(config, "step3", lines).passed is passes


def test_sizes_follow_the_names():
    for letter in ("a_ema_rate", "b_teacherless", "c_symmetric", "d_sharpening"):
        stem = f"step2_exp_{letter}_cifar10rot"
        sizes = [presets.load(f"{stem}{suffix}") for suffix in ("_smoke", "_quick", "", "_gate30")]
        assert [(c.data.sizes[0] if c.data.sizes else 45_000, c.epochs) for c in sizes] == [
            (128, 1),
            (5000, 5),
            (20_000, 10),
            (45_000, 30),
        ]
    arms = [
        presets.load(f"step2_exp_{letter}_cifar100").objective
        for letter in ("a_ema_rate", "b_teacherless", "c_symmetric", "d_sharpening")
    ]
    assert [arm.teacher for arm in arms] == ["ema", "stopgrad", "ema", "stopgrad"]
    assert [arm.symmetric for arm in arms] == [False, False, True, False] and [bool(arm.sharpen) for arm in arms] == [
        False
    ] * 3 + [True]


@pytest.mark.parametrize(
    "writer, name",
    [
        (write_cifar100, "cifar100_aug_smoke"),
        (write_cifar10, "step2_exp_b_teacherless_cifar10rot_smoke"),
        (write_mnist, "mnist_rot_only"),
    ],
)
def test_files_in_the_published_format_are_trained_on(writer, name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(regression, "STEPS", 2)
    root = tmp_path / "data"
    writer(root, 50, 8)
    words = [word for word in tiny(name) if not word.startswith("data.generated")]
    command = [
        "--preset",
        name,
        "--epochs",
        "1",
        "--gate",
        "none",
        "--results-dir",
        str(tmp_path / "r"),
        "--data-root",
        str(root),
        *words,
    ]
    assert main([*command, "--across-commits", "--own-files"]) == 0, capsys.readouterr().err
    # other files are not quietly taken for the published ones, also where only some images are asked for
    capsys.readouterr()
    assert main(command) == 2
    error = capsys.readouterr().err
    assert (
        re.search(r"has 50 training and 8 test images, published are|md5 .* published", error)
        and error.count("\n") == 1
    )
    assert "--own-files" in error
