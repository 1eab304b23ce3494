"""Names of stored image sets: everything that determines a set's content is in its name."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import trainer.data.images
from trainer.config import RunConfig
from trainer.data import sets

FORMAT = 1
# how images are drawn and views made of them; every other data setting, future ones included, makes another file
VIEWS_ONLY = {
    "transform", "observed_views", "draws_per_epoch", "canvas", "content", "max_angle", "angle_steps", "max_shift",
    "max_log_scale",
    "scale_range", "augment", "hue_action", "anchor_first", "normalize", "action_scale", "pad_action", "select_on",
    "standard", "stream", "mixture", "epoch_images",
}  # fmt: skip
GLIMPSE_ONLY = {"inhibition", "radius"}


def set_name(config: RunConfig) -> str:
    """File name of the stored set: settings, code and library versions, and the files it is read from."""
    return _name(config, {"settings": _settings(config), "format": FORMAT, "code": _code(), "files": _files(config)})


def lock_name(config: RunConfig) -> str:
    """The lock of whoever makes that file. The files read are not in it, since a download changes them under the
    lock."""
    return _name(config, {"settings": _settings(config)}) + ".lock"


def _name(config: RunConfig, content: dict[str, Any]) -> str:
    return f"{config.data.name}-{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]}"


def _settings(config: RunConfig) -> dict[str, Any]:
    data = config.data.model_dump(mode="json", exclude={**dict.fromkeys(VIEWS_ONLY, True), "glimpse": GLIMPSE_ONLY})
    roots = [path for path in (_root(config), config.runtime.saliency_file) if path]
    # what was not compared with the published set must not pass for it
    return {"data": data, "where": [os.path.abspath(path) for path in roots], "own": config.runtime.own_files}


def _root(config: RunConfig) -> str | None:
    """The folder the set is read from, for the sets that are read from one."""
    data = config.data
    if data.name not in sets.FOLDERS or data.generated:
        return None
    return os.path.join(config.runtime.data_root, sets.FOLDERS[data.name])


def _code() -> list[str]:
    """The modules that read and render sets, and the libraries whose versions could change a pixel or a random
    number."""
    images = Path(trainer.data.images.__file__)
    package = images.parent.parent
    modules = [
        images,
        images.with_name("philox.py"),
        package / "config" / "sets.py",
        *Path(sets.__file__).parent.glob("*.py"),
    ]
    text = b"".join(module.read_bytes() for module in sorted(modules))
    return [hashlib.sha256(text).hexdigest(), torch.__version__, *(version(name) for name in ("numpy", "pillow"))]


def _files(config: RunConfig) -> list[Any]:
    """(path, size, time of change) of what a set is read from.

    Down to three folders deep: there the time of a folder stands for the files in it, of which some sets have millions.
    """
    found: list[Any] = []
    if config.data.name == "digits":
        from trainer.data.sets import digits

        _look(digits.file(), 0, found)
    if root := _root(config):
        _look(Path(root), 3, found)
    if config.runtime.saliency_file:
        _look(Path(config.runtime.saliency_file), 0, found)
    return found


def _look(path: Path, deep: int, found: list[Any]) -> None:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return
    found.append([str(path), facts.st_size, facts.st_mtime_ns])
    if deep and path.is_dir():
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            # a folder of thousands of files is described by its own time of change
            if deep > 1 or entry.is_dir():
                _look(Path(entry.path), deep - 1, found)
