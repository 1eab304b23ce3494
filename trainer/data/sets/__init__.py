"""Data sets read from their published formats.

Each reader lives in a module of its own, imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trainer.data.sets.places import Places
from trainer.errors import UsageError

if TYPE_CHECKING:
    from trainer.config import DataConfig, RunConfig, RuntimeConfig
    from trainer.data.sets.raw import RawSet


class Reader(NamedTuple):
    """Where a data set's reader is, and its files.

    Attributes:
        module, function: of this package; ``function(places) -> RawSet``.
        folder: where the files are looked for, below the data root; None where there are none.
        by_hand: where people fetch it who want it: nothing here may.
    """

    module: str
    function: str = "read"
    folder: str | None = None
    by_hand: str | None = None


READERS = {
    "digits": Reader("digits"),
    "mnist": Reader("mnist", folder="MNIST/raw"),
    "cifar10": Reader("cifar", "read_cifar10", "cifar-10-batches-py"),
    "cifar100": Reader("cifar", "read_cifar100", "cifar-100-python"),
    "tiny_imagenet": Reader("tiny_imagenet", folder="tiny-imagenet-200"),
    "stl10": Reader("stl10", folder="stl10_binary"),
    "3diebench": Reader("threediebench", folder="3DIEBench", by_hand="github.com/facebookresearch/SIE"),
    "mini3d": Reader("mini3d"),
    "imagenet100": Reader("imagenet100", folder="imagenet", by_hand="image-net.org"),
}
FOLDERS = {name: reader.folder for name, reader in READERS.items() if reader.folder}


def require_present(config: RunConfig) -> None:
    """A look at the folder, before anything is spent; the reader itself checks the files.

    Raises:
        UsageError: there is no folder of the data set's name, and nothing allows fetching it.
    """
    from trainer.config import members  # only here: --help asks this package for a name

    for data in members(config.data):
        _require(data, config.runtime)


def _require(data: DataConfig, runtime: RuntimeConfig) -> None:
    by_hand = READERS[data.name].by_hand if data.name in READERS else None
    if data.name not in FOLDERS or data.generated or (runtime.download and not by_hand):
        return
    folder = Path(runtime.data_root) / FOLDERS[data.name]
    if not folder.is_dir():
        fetch = f"fetch it by hand ({by_hand})" if by_hand else "give --download"
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
    reader = READERS[name]
    places = Places(Path(root), download, Path(made or root), own_files)
    return getattr(import_module(f"{__name__}.{reader.module}"), reader.function)(places)
