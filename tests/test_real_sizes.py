"""Every preset goes through all that its number of images and its batch decide: what crashed 39 of 55 and no small test
saw.

Views have their real number but are four equal pixels: rendering and convolutions take the time, and no chunk depends
on what they return. ``make presets`` does the same with real views.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from real_sizes.rehearsal import narrowed, rehearse

from trainer import presets
from trainer.data import views
from trainer.data.augment import Augment
from trainer.data.glimpses import Glimpses
from trainer.data.images import load_images
from trainer.data.object_views import ObjectViews
from trainer.data.planar import Planar
from trainer.data.sets import saliency
from trainer.data.store import MappedImages
from trainer.families.seq_jepa.probing import retrieval
from trainer.probes import regression

pytestmark = pytest.mark.alone


SMALLEST = ["model.encoder={name: conv, width: 1}", "model.action_dim=4", "model.predictor_hidden=8"]


def shape(name):
    """All of a preset that decides sizes; presets that differ in nothing of it are gone through once."""
    config = narrowed(name)
    kept = {
        "data": config.data, "batch": config.optim.batch_size, "teacher": config.objective.teacher,
        "symmetric": getattr(config.objective, "symmetric", None), "levels": getattr(config.model, "levels", None),
        "sharpen": getattr(config.objective, "sharpen", None) is not None, "eval": config.eval,
        "action_norm": getattr(config.model, "action_norm", None),
    }  # fmt: skip
    return repr(kept)


# their views cannot be made blank here, and probing 100,000 images takes hours: one step of each at its real shapes was
# measured by hand (the family's README)
BY_HAND = [name for name in presets.names() if name.startswith("h_jepa_") and name != "h_jepa_digits"]
SHAPES = {}
for _name in sorted(set(presets.names()) - set(BY_HAND)):
    SHAPES.setdefault(shape(_name), []).append(_name)


@pytest.fixture(scope="module")
def loaded():
    """The last generated set, which presets in alphabetical order mostly share."""
    return {}


@pytest.mark.parametrize("names", SHAPES.values(), ids="+".join)
def test_a_preset_runs_at_its_published_sizes(names, loaded, tmp_path, monkeypatch):
    seq = presets.load(names[0]).family == "seq_jepa"
    config = narrowed(names[0], SMALLEST if seq else [])
    look_blank(monkeypatch)
    key = config.data.name, config.data.sizes, config.data.select_on, config.data.pretrain_on, config.data.unlabelled
    if key not in loaded:
        loaded.clear()
        loaded[key] = one_pixel(
            load_images(config.model_copy(update={"runtime": config.runtime.model_copy(update={"resident_mib": 64})}))
        )
    lines = rehearse(config, tmp_path, loaded[key], baselines=False)
    assert [line["event"] for line in lines] == ["eval", "epoch", "eval", "stop", "eval"]
    start, _, end, stop, evaluation = lines
    assert stop["reason"] == "completed" and start["epoch"] == 0 and end["probe_epoch"] == 1
    m = config.data.observed_views
    for line in (start, end, evaluation):
        assert {f"linacc/z_agg@{m}", f"rank_pr/z@{m}", f"predict/z_hat@{m}"} <= line["metrics"].keys()
        assert math.isfinite(line["metrics"][f"predict/z_hat@{m}"])
    assert math.isfinite(end["metrics"][f"{'linacc_live' if seq else 'std_live'}/z_agg@{m}"])


def test_every_preset_is_gone_through():
    assert sorted(name for names in SHAPES.values() for name in names) == sorted(set(presets.names()) - set(BY_HAND))


def one_pixel(images):
    """The set with its number of images and labels, each image cut down to its first pixel."""
    stored = images.images
    few = (
        MappedImages([array[..., :1, :1].copy() for array in stored._arrays])
        if isinstance(stored, MappedImages)
        else stored[..., :1, :1].clone()
    )
    return replace(images, images=few)


def look_blank(monkeypatch):
    """Views of the real number, quickly; probes fitted in a few steps."""

    def blank(images, count):
        grey = images[..., :1, :1]
        return list(grey.view(count, -1, grey.shape[1], 1, 1).expand(-1, -1, -1, 2, 2).unbind(0))

    for transform in (Augment, Glimpses, Planar):
        monkeypatch.setattr(
            transform,
            "render",
            lambda self, images, drawn: blank(
                images[..., :1, :1].repeat(config_views(drawn), 1, 1, 1), config_views(drawn)
            ),
        )
    monkeypatch.setattr(ObjectViews, "render", lambda self, images, drawn: blank(images, drawn.view.shape[1]))
    # statistics of an image have its own shape, not the view's: a view of one grey stays one number
    monkeypatch.setattr(views.Views, "_normal", lambda self, view: view)
    monkeypatch.setattr(
        saliency,
        "centre_surround",
        lambda images: torch.from_numpy(np.broadcast_to(np.uint8(255), (len(images), 96, 96)).copy()[:1]).expand(
            len(images), -1, -1
        ),
    )
    monkeypatch.setattr(regression, "STEPS", 2)
    monkeypatch.setattr(retrieval, "CANDIDATES", 3)


def config_views(drawn):
    """V of what a transform has drawn: (B, V) tensors, or fixations (B, V, 2)."""
    first = drawn if isinstance(drawn, torch.Tensor) else next(iter(vars(drawn).values()))
    return first.shape[1]
