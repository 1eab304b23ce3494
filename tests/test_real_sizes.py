"""Every preset goes through all that its number of images and its batch decide: what crashed 39 of 55 and no small test
saw.

Views have their real number but are four equal pixels: rendering and convolutions take the time, and no chunk depends
on what they return. Every size is gone through, and every kind of objective at a size of several chunks; all presets
one by one, with real views: ``make presets``.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from real_sizes.rehearsal import narrowed, rehearse

from trainer import presets
from trainer.config.sets import pretraining_images
from trainer.data import views
from trainer.data.augment import Augment
from trainer.data.glimpses import Glimpses
from trainer.data.images import load_images
from trainer.data.object_views import ObjectViews
from trainer.data.planar import Planar
from trainer.data.sets import mini3d, saliency
from trainer.data.store import MappedImages
from trainer.families.seq_jepa.probing import retrieval
from trainer.probes import protocol, regression

SMALLEST = ["model.encoder={name: conv, width: 1}", "model.action_dim=4", "model.predictor_hidden=8"]


def sizes(config):
    """All of a preset that decides how much is computed at once."""
    return repr((config.data, config.optim.batch_size, config.eval))


def kind(config):
    """What of a preset decides how it is computed, whatever the sizes."""
    objective, model = config.objective, config.model
    switches = getattr(objective, "symmetric", None), getattr(objective, "sharpen", None) is not None
    return repr((objective.teacher, *switches, getattr(model, "levels", None), getattr(model, "action_norm", None)))


# their views cannot be made blank here, and probing 100,000 images takes hours: one step of each at its real shapes was
# measured by hand (the family's README)
BY_HAND = [name for name in presets.names() if name.startswith("h_jepa_") and name != "h_jepa_digits"]
GONE_THROUGH = {name: narrowed(name) for name in sorted(set(presets.names()) - set(BY_HAND))}


SEVERAL_CHUNKS = 5000


def few():
    """Presets that have all sizes and all kinds of objectives between them, quick ones where there is a choice."""

    def cost(name):
        images = pretraining_images(GONE_THROUGH[name].data)
        return images < SEVERAL_CHUNKS, images, name

    found, seen = [], set()
    for name in sorted(GONE_THROUGH, key=cost):
        if news := {sizes(GONE_THROUGH[name]), kind(GONE_THROUGH[name])} - seen:
            found, seen = [*found, name], seen | news
    return sorted(found)


def evaluation(config):
    """What of a preset decides how ``trainer.evaluate`` computes, which takes as many images of each here."""
    sized = {"sizes", "unlabelled", "draws_per_epoch", "select_on", "pretrain_on"}
    return repr(config.data.model_dump(exclude=sized))


def evaluated():
    """Those of them that have all such settings, and all kinds of objectives, between them."""
    found, seen = set(), set()
    for name in few():
        if news := {evaluation(GONE_THROUGH[name]), kind(GONE_THROUGH[name])} - seen:
            found, seen = found | {name}, seen | news
    return found


EVALUATED = evaluated()


@pytest.fixture(scope="module")
def loaded():
    """The last generated set, which presets in alphabetical order mostly share."""
    return {}


@pytest.mark.parametrize("name", few())
def test_a_preset_runs_at_its_published_sizes(name, loaded, tmp_path, monkeypatch):
    seq = presets.load(name).family == "seq_jepa"
    config = narrowed(name, SMALLEST if seq else [])
    look_blank(monkeypatch)
    key = config.data.name, config.data.sizes, config.data.select_on, config.data.pretrain_on, config.data.unlabelled
    if key not in loaded:
        loaded.clear()
        loaded[key] = one_pixel(
            load_images(config.model_copy(update={"runtime": config.runtime.model_copy(update={"resident_mib": 64})}))
        )
    evaluated = name in EVALUATED
    lines = rehearse(config, tmp_path, loaded[key], baselines=False, sweep_again=False, evaluated=evaluated)
    assert [line["event"] for line in lines] == ["eval", "epoch", "eval", "stop", *["eval"] * evaluated]
    start, _, end, stop, *evaluations = lines
    assert stop["reason"] == "completed" and start["epoch"] == 0 and end["probe_epoch"] == 1
    m = config.data.observed_views
    for line in (start, end, *evaluations):
        assert {f"linacc/z_agg@{m}", f"rank_pr/z@{m}", f"predict/z_hat@{m}"} <= line["metrics"].keys()
        assert math.isfinite(line["metrics"][f"predict/z_hat@{m}"])
    assert math.isfinite(end["metrics"][f"{'linacc_live' if seq else 'std_live'}/z_agg@{m}"])


def test_all_sizes_and_all_kinds_of_objectives_are_gone_through():
    ours = [GONE_THROUGH[name] for name in few()]
    for what in (sizes, kind):
        assert set(map(what, ours)) == set(map(what, GONE_THROUGH.values()))
    for what in (evaluation, kind):
        assert {what(GONE_THROUGH[name]) for name in EVALUATED} == set(map(what, ours))


def one_pixel(images):
    """The set with its number of images and labels, each image cut down to its first pixel."""
    stored = images.images
    if not isinstance(stored, MappedImages):
        return replace(images, images=stored[..., :1, :1].clone())
    # a generated set repeats one array
    cut = {id(array): array[..., :1, :1].copy() for array in stored._arrays}
    return replace(images, images=MappedImages([cut[id(array)] for array in stored._arrays]))


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
    monkeypatch.setattr(mini3d, "render", one_grey)
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
    monkeypatch.setattr(protocol, "HIDDEN", 64)
    monkeypatch.setattr(retrieval, "CANDIDATES", 3)


def one_grey(planes, quaternion, hue, size):
    """A picture of an object, which its turn changes."""
    grey = np.uint8(255 * np.abs(quaternion[:, 0]))
    return np.broadcast_to(grey[:, None, None, None], (len(planes), 3, size, size)).copy()


def config_views(drawn):
    """V of what a transform has drawn: (B, V) tensors, or fixations (B, V, 2)."""
    first = drawn if isinstance(drawn, torch.Tensor) else next(iter(vars(drawn).values()))
    return first.shape[1]
