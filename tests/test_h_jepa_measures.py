"""What H-JEPA is measured by, in runs of the public command: probes that know chance from knowledge and change nothing,
and monitors that see images grow alike."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from test_h_jepa import command
from test_h_jepa_command import SHORT

import trainer.loop
from trainer.__main__ import main
from trainer.families.h_jepa.measures import spread
from trainer.record.run import read


def metrics(folder, *words):
    """What each line of a run of the command measured, and its weights."""
    assert main([*command(*SHORT, *words), "--results-dir", str(folder)]) == 0
    (path,) = folder.rglob("records.jsonl")
    lines = [line["metrics"] for line in read(path) if line["event"] in ("epoch", "eval")]
    return lines, torch.load(path.with_name("checkpoint.pt"), weights_only=True)["method"]


def planted(images):
    """An image is what its class is: a lit square at a place of its own."""
    pixels = images.images.clone() // 16
    for label in range(10):
        row, column = 2 * (label // 4), 2 * (label % 4)
        pixels[images.labels == label, :, row : row + 2, column : column + 2] = 255
    return replace(images, images=pixels)


def shuffled(images):
    order = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(0))
    return replace(images, labels=images.labels[order])


@pytest.mark.parametrize("change, low, high", [(shuffled, 3, 19), (planted, 98, 100)])
def test_probes_are_at_chance_where_labels_are_shuffled_and_right_where_they_show(
    change, low, high, tmp_path, monkeypatch
):
    plain = trainer.loop.load_images
    monkeypatch.setattr(trainer.loop, "load_images", lambda config: change(plain(config)))
    (start, *_), _ = metrics(tmp_path, "data.sizes=[600,300,100]", "optim.batch_size=256")
    for name in ("linacc/z_agg@1", "knn20/z_agg@1", "linacc/pixels@1", "knn20/pixels@1"):
        assert low <= start[name] <= high, (name, start[name])


def test_measuring_trains_nothing_and_the_untrained_encoder_is_beside_it(tmp_path):
    words = ["epochs=2", "schedule.horizon_epochs=2"]
    (often, weights), (rare, others) = (
        metrics(tmp_path / name, *words, *more)
        for name, more in (("often", ["eval.probe_epochs=[1]", "eval.live_every=1"]), ("rare", []))
    )
    assert weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)
    assert often[0] == rare[0] and {"linacc/z_agg@1", "knn20/z_agg@1"} <= rare[0].keys()
    assert sum("linacc/z_agg@1" in one for one in often) == sum("linacc/z_agg@1" in one for one in rare) + 1


def test_monitors_see_the_reports_loss_pull_images_together(tmp_path):
    """Both sides at length 1 and no regulariser: the loss falls far below chance where all images look alike."""
    words = ["objective.normalise=both_unit", "objective.ema={decay: 0.9}", "optim.lr=1e-2", "--gate=none"]
    words += ["epochs=12", "schedule.horizon_epochs=12", "eval.live_every=20"]
    (start, *_, end), _ = metrics(tmp_path / "without", *words)
    (*_, repaired), _ = metrics(tmp_path / "with", *words, "objective.weights.rate=0.3")
    assert end["predict/z_hat@1"] < 0.02 * start["chance_independent/z_hat@1"]
    assert end["std/z_agg@1"] < 0.2 * start["std/z_agg@1"] < 0.2 * repaired["std/z_agg@1"]
    assert end["pair_cosine/z_agg@1"] > 0.999 > start["pair_cosine/z_agg@1"] > 0.95 > repaired["pair_cosine/z_agg@1"]
    assert end["rankme/z_agg@1"] < start["rankme/z_agg@1"] < repaired["rankme/z_agg@1"]


def test_monitors_see_constant_features_and_not_normalised_ones():
    normalised = torch.nn.functional.layer_norm(
        torch.randn(1024, 64, generator=torch.Generator().manual_seed(0)), (64,)
    )
    apart = spread(normalised)
    position = torch.randn(1, 64, generator=torch.Generator().manual_seed(1))
    alike = spread(F.layer_norm(position + 1e-4 * normalised, (64,)))
    assert apart["std"] > 0.9 and abs(apart["pair_cosine"]) < 0.01 and apart["rankme"] > 50
    # its norm and its deviation over channels are those of the others
    assert alike["std"] < 1e-3 and alike["pair_cosine"] > 0.999
