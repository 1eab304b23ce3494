"""Each feature of H-JEPA acts in a run that the public command made: what is on record differs from the default's in
what the feature is for, and in nothing where it only computes the same otherwise."""

import re

import pytest
import torch
from PIL import Image
from test_h_jepa import COLOUR, FEATURES, MIXED, TWO, built, command
from test_h_jepa_settings import tree  # noqa: F401  a fixture

from trainer import evaluate
from trainer.__main__ import main
from trainer.data.sets import imagenet100
from trainer.record.run import read

SHORT = ["epochs=1", "schedule.warmup_epochs=0", "schedule.horizon_epochs=1", "eval.probe_epochs=[]"]
EXACT = ("attention", "checkpointing")
"""Other ways to the same numbers."""
OWN = {
    "c_jepa": {"term/c_jepa", "invariance/agg"}, "nt_xent": {"term/nt_xent"}, "sigreg": {"term/sigreg"},
    "fpn": {"term/level1", "term/level2", "linacc/level2@1", "knn20/level0@1"},
    "levels": {"term/level1", "term/level2"},
    "cross_crop": {"term/cross"}, "mixture": {"knn20.mnist/z_agg@1", "linacc.cifar10/z_agg@1"},
}  # fmt: skip
FURTHER = {
    "levels": ["model.levels=3"],
    "level weights": ["model.levels=3", "objective.level_weights=[1.0, 0.0, 2.0]"],
    "cross_crop": ["data.standard.locals={count: 2, side: 8}", "objective.locals=cross_crop"],
    "concat": ["model.levels=3", "model.fpn={width: 8, merge: concat}"],
    "target": ["objective.ema={decay: 0.5}"],
    "masks": ["model.masks.target_scale=[0.3, 0.3]"],
    "report's loss": ["objective.normalise=both_unit"],
    "recipe": ["data.standard.recipe=lejepa", "data.standard.crop_scale=[0.3, 1.0]"],
    "gains": ["model.encoder.vit.layer_scale=1e-5"],
    "cutmix": ["data.standard.cutmix=1.0"],
    "mixture": ["data.name=digits", "data.sizes=[64,32,32]", *MIXED],
}


def trained(folder, *words):
    """All metrics of a run by the command, its last values of each."""
    assert main([*command(*COLOUR, *SHORT, *words), "--results-dir", str(folder)]) == 0
    (path,) = folder.rglob("records.jsonl")
    return {name: value for line in read(path) for name, value in line.get("metrics", {}).items()}


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("default"))


@pytest.mark.parametrize("name", [*FEATURES, *FURTHER])
def test_a_feature_changes_the_record_as_it_should(name, default, tmp_path):
    found = trained(tmp_path, *(FEATURES | FURTHER)[name])
    if name in EXACT:
        assert found == pytest.approx(default, rel=1e-3, abs=1e-3)
        return
    assert abs(found["loss/total"] - default["loss/total"]) > 1e-6
    assert OWN.get(name, set()) <= found.keys() - default.keys()
    weighted = {key: value for key, value in found.items() if key.startswith("weighted/")}
    assert all(value != 0 for value in weighted.values()), weighted
    assert found["loss/total"] == pytest.approx(sum(weighted.values()), rel=1e-5)
    if name == "level weights":
        assert "term/level1" not in found and found["weighted/level2"] == pytest.approx(2 * found["term/level2"])


def test_an_evaluation_has_trained_and_untrained_of_every_feature(tmp_path, capsys):
    words = [*FEATURES["fpn"], "optim.lr=0.01", "eval.probe_epochs=[]"]
    assert main([*command(*COLOUR, *SHORT, *words), "--results-dir", str(tmp_path)]) == 0
    (path,) = tmp_path.rglob("records.jsonl")
    start, *_, end = (line["metrics"] for line in read(path) if line["event"] == "eval")
    assert evaluate.main(["--checkpoint", str(path.parent), "--protocol", "ridge"]) == 0
    found = next(read(path.with_name("evaluation.jsonl")))["metrics"]
    for kind, expected in (("", end), ("untrained_", start)):
        of_model = {key for key in expected if not ("pixels" in key or "chance" in key or "_live" in key)}
        assert {"linacc/level1@1", "knn20/level2@1", "predict/z_hat@1"} <= of_model
        for key in of_model:
            assert found[key.replace("/", f"/{kind}")] == pytest.approx(expected[key], rel=1e-6), key
    assert any(start[key] != end[key] for key in start if "/level" in key)
    assert "20 nearest neighbours (%), level 2" in capsys.readouterr().out


def test_imagenet100_is_named_in_a_configuration(tree, tmp_path, monkeypatch, capsys):  # noqa: F811
    wanted = [f"n{number:08d}" for number in (1, 2, 4, 5, 6)]
    monkeypatch.setattr(imagenet100, "SIDE", 32)
    monkeypatch.setattr(imagenet100, "classes", lambda: wanted)
    opened, plain = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(path.parent.name) or plain(path))
    words = ["data.name=imagenet100", "data.generated=false", "data.sizes=[10,5,5]", "--own-files"]
    words += ["--data-root", str(tree)]
    found = trained(tmp_path, *words, "optim.batch_size=5")
    assert 0 <= found["linacc/z_agg@1"] <= 100 and found["loss/total"] > 0 and set(opened) == set(wanted)
    assert re.search(r"\ntrained parameters: [\d,]+ \(online [\d,]+, predictor [\d,]+\)\n", capsys.readouterr().out)


def test_what_compares_views_keeps_images_apart(tmp_path):
    long = [*TWO, "epochs=8", "schedule.horizon_epochs=8", "optim.lr=3e-3", "data.sizes=[48,16,16]"]
    without = trained(tmp_path / "without", *long)
    found = trained(tmp_path / "with", *long, "objective.weights.c_jepa=0.1")
    assert found["std_over_images/z_agg"] > 2 * without["std_over_images/z_agg"]


def test_levels_move_with_the_grid():
    """A list of tokens pooled in row order would not."""
    _, _, method = built("model.levels=3", "model.fpn={width: 8}", "data.canvas=32", "precision=fp64")
    grid = torch.randn(1, 16, 16, 16, dtype=torch.float64)
    moved = grid.roll((4, 4), (1, 2))
    pairs = zip(method.online.maps(grid.flatten(1, 2)), method.online.maps(moved.flatten(1, 2)), strict=True)
    for level, (before, after) in enumerate(pairs):
        side, by = 16 >> level, 4 >> level
        before, after = (one.view(side, side, -1) for one in (before, after))
        kept, now = slice(1, side - 1 - by), slice(1 + by, side - 1)  # away from the edges and what came round
        torch.testing.assert_close(after[now, now], before[kept, kept], rtol=1e-10, atol=1e-12)
