"""scikit-learn's copy of the UCI optical recognition set, which ships in its wheel."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import torch

from trainer.data.sets.places import Places
from trainer.data.sets.raw import RawSet


def read(places: Places) -> RawSet:
    """1,797 images (1, 8, 8), 10 classes: ``sklearn.datasets.load_digits`` without its import, which costs every trial
    process seconds."""
    if file().exists():
        with gzip.open(file(), "rt") as lines:
            table = np.array([line.split(",") for line in lines], dtype=np.float64)
        pixels, target = table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    else:
        from sklearn.datasets import load_digits

        raw = load_digits()
        pixels, target = raw.images, raw.target
    # intensities are 0..16
    images = torch.from_numpy(np.round(pixels * (255 / 16)).astype(np.uint8))[:, None].contiguous()
    return RawSet(images, torch.from_numpy(target.astype(np.int64)), test=0)


def file() -> Path:
    """Where the package keeps them."""
    package = importlib.util.find_spec("sklearn").submodule_search_locations[0]
    return Path(package) / "datasets" / "data" / "digits.csv.gz"
