"""Data sets read from their published formats.

Each reader lives in a module of its own, imported when it is asked for: torchvision costs a second.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.data.sets.places import Places
from trainer.errors import UsageError

if TYPE_CHECKING:
    from trainer.config import RunConfig
    from trainer.data.sets.raw import RawSet

# name: module of this package and its function (places) -> RawSet
READERS = {
    "mnist": ("mnist", "read"),
    "cifar10": ("cifar", "read_cifar10"),
    "cifar100": ("cifar", "read_cifar100"),
    "tiny_imagenet": ("tiny_imagenet", "read"),
    "stl10": ("stl10", "read"),
    "3diebench": ("threediebench", "read"),
    "mini3d": ("mini3d", "read"),
    "imagenet100": ("imagenet100", "read"),
}

# where a data set's files are looked for, below the data root
FOLDERS = {
    "mnist": "MNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "tiny_imagenet": "tiny-imagenet-200",
    "stl10": "stl10_binary",
    "3diebench": "3DIEBench",
    "imagenet100": "imagenet",
}

BY_HAND = {"3diebench": "github.com/facebookresearch/SIE", "imagenet100": "image-net.org"}


def require_present(config: RunConfig) -> None:
    """A look at the folder, before anything is spent; the reader itself checks the files.

    Raises:
        UsageError: there is no folder of the data set's name, and nothing allows fetching it.
    """
    data, runtime = config.data, config.runtime
    if data.name not in FOLDERS or data.generated or (runtime.download and data.name not in BY_HAND):
        return
    folder = Path(runtime.data_root) / FOLDERS[data.name]
    if not folder.is_dir():
        fetch = f"fetch it by hand ({BY_HAND[data.name]})" if data.name in BY_HAND else "give --download"
        raise UsageError(f"{data.name}: there is no {folder}; {fetch}, or name another folder with --data-root")


def read(name: str, root: Path, download: bool, made: Path | None = None, own_files: bool = False) -> RawSet:
    """Read a data set.

    Args:
        root, download, made, own_files: as in :class:`Places`; ``made`` is ``root`` unless given.

    Raises:
        UsageError: an unknown name, files that are absent, damaged or of other sizes, or a failed download.
    """
    if name not in READERS:
        raise UsageError(f"data set {name!r} is unknown; choose one of {', '.join(READERS)}")
    module, function = READERS[name]
    return getattr(import_module(f"{__name__}.{module}"), function)(
        Places(Path(root), download, Path(made or root), own_files)
    )
