"""No setting of H-JEPA is accepted and ignored, and ImageNet-100 is the list's classes and no others."""

import os
import re
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from PIL import Image
from test_h_jepa import COLOUR, CROPS, FEATURES, TWO, config, steps

from trainer import families
from trainer.config.node import Node
from trainer.data.images import load_images
from trainer.data.sets import imagenet100
from trainer.data.sets.places import Places
from trainer.errors import UsageError
from trainer.families import h_jepa

HERE = Path(__file__).parent
EVERYTHING = [
    *COLOUR, *TWO, *CROPS, *FEATURES["fpn"], *FEATURES["sigreg"], *FEATURES["layer_scale"],
    "objective.locals=cross_crop", "objective.weights.c_jepa=0.1", "objective.weights.nt_xent=0.1",
    "objective.weights.vicreg=0.1", "objective.weights.rate=0.1", "data.standard.mixup=0.8",
    "data.standard.cutmix=1.0",
]  # fmt: skip
NOT_READ = {
    ("EncoderConfig", "stem"): "resnet18 only: None here",
    ("EncoderConfig", "blocks"): "stack only: None here",
    ("EncoderConfig", "crate"): "crate only, which is refused here: None",
    ("RateConfig", "alpha"): "forms ln and log only: None here",
    ("EmaConfig", "decay"): "given as a half-life here, and read to see that",
}


def fields(node, found):
    for name in type(node).model_fields:
        value = getattr(node, name)
        found.add((type(node).__name__, name))
        if isinstance(value, Node):
            fields(value, found)
    return found


def test_every_setting_is_read_in_two_steps_and_a_measurement(monkeypatch):
    run = config(*EVERYTHING)
    accepted = set()
    for part in (run.model, run.objective, run.data.standard):
        fields(part, accepted)
    accepted = {one for one in accepted if one[0] != "Weights"}  # each weight has a term, or the loss says so
    seen, plain = set(), Node.__getattribute__

    def recorded(self, name):
        seen.add((type(self).__name__, name))
        return plain(self, name)

    monkeypatch.setattr(Node, "__getattribute__", recorded)
    family, images = families.load("h_jepa"), load_images(run)
    source = family.source(run, images, torch.float32)
    method = family.make(run, source)
    steps(run, source, method)
    method.schedule(1)
    family.probes(run, images, source, method, torch.device("cpu")).at_start(method, True)
    dead = accepted - seen - NOT_READ.keys()
    assert not dead, sorted(dead)


def test_the_page_of_features_names_tests_that_are_there():
    page = Path(h_jepa.__file__).with_name("MATRIX.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`tests/(\w+\.py)::(\w+)`", page))
    missing = [name for file, name in named if f"def {name}(" not in (HERE / file).read_text(encoding="utf-8")]
    assert len(named) > 25 and missing == []


@pytest.fixture
def tree(tmp_path):
    """Seven classes with three training images and one to validate."""
    for number in range(7):
        for part, count in (("train", 3), ("val", 1)):
            folder = tmp_path / "imagenet" / part / f"n{number:08d}"
            folder.mkdir(parents=True)
            for image in range(count):
                pixels = np.full((40 + image, 60, 3), 30 * number, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{image}.JPEG")
    return tmp_path


def test_only_listed_classes_are_opened_and_numbered(tree, monkeypatch):
    wanted = [f"n{number:08d}" for number in (1, 2, 4, 5, 6)]
    opened, scan = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(str(path)) or scan(path))
    monkeypatch.setattr(imagenet100, "SIDE", 32)
    found = imagenet100.read(Places(tree, False, tree, False), wanted)
    assert found.labels.tolist() == [label for label in range(5) for _ in range(3)] + list(range(5)) and found.test == 5
    assert not [path for path in opened if "n00000000" in path or "n00000003" in path]
    assert found.images[torch.tensor([3])].float().mean() == pytest.approx(60, abs=2)
    with pytest.raises(UsageError, match="n00000009"):
        imagenet100.read(Places(tree, False, tree, False), [*wanted, "n00000009"])


@pytest.mark.oracle
def test_the_list_is_that_of_cmc():
    """Labels are ranks in the order of names, as its loaders have them; its file is in another."""
    names, theirs = imagenet100.classes(), (oracles.HERE / "cmc_imagenet100.txt").read_text().split()
    found = [names.index(name) for name in theirs]
    wanted = np.argsort(np.argsort(theirs))
    oracles.equals_oracle("cmc_imagenet100", torch.tensor(found), wanted, "labels of its classes", 0)
    assert len(names) == 100 and names.index("n02869837") == 48
