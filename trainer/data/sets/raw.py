"""What every reader returns, and the errors they share."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from trainer.data.store import MappedImages
from trainer.errors import UsageError, one_line


@dataclass(frozen=True)
class RawSet:
    """A data set as published, in a fixed order.

    Attributes:
        images: uint8 (N, C, H, W), or (N, V, C, H, W) where an object has V recorded views.
        labels: (N,) int64, -1 = unlabelled.
        test: how many of the last images are the official test split.
        extras: side information per image or view, first dimension N: ``quaternion`` (N, V, 4) float32,
            scalar last, unit; ``hue`` (N, V) float32 in [0, 1); ``light`` (N, V, 3) float32; ``saliency`` (N, H, W)
            uint8.
        source: identity of the files the images were read from, for what is made of them and kept; "": not kept.
    """

    images: Tensor | MappedImages
    labels: Tensor
    test: int
    extras: dict[str, Tensor] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        count = self.images.shape[0]
        if isinstance(self.images, Tensor) and self.images.dtype != torch.uint8:
            raise ValueError(f"images are {self.images.dtype}, not uint8")
        if self.labels.shape != (count,) or self.labels.dtype != torch.int64:
            raise ValueError(f"labels are {self.labels.dtype} {tuple(self.labels.shape)}, not int64 ({count},)")
        if not 0 <= self.test <= count:
            raise ValueError(f"test = {self.test} must lie in 0..{count}")
        for name, extra in self.extras.items():
            if extra.shape[0] != count:
                raise ValueError(f"extras[{name!r}] has {extra.shape[0]} rows for {count} images")


def require_files(folder: Path, files: Sequence[str], remedy: str) -> None:
    """Raise UsageError, with the remedy, unless all files or folders named are in ``folder``."""
    missing = [name for name in files if not (folder / name).exists()]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UsageError(f"{folder} does not hold {', '.join(missing[:5])}{more}; {remedy}")


def by_hand(url: str, folder: Path) -> str:
    """The remedy for a data set that can be downloaded."""
    return f"give --download, or fetch {url} and unpack it in {folder}"


@contextmanager
def downloading(url: str, folder: Path) -> Iterator[None]:
    """Turn what a failing download or unpacking raises into a UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (RuntimeError, OSError, EOFError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise UsageError(
            f"downloading {url} to {folder} failed: {one_line(error)}; fetch it by hand and unpack it there"
        ) from error


def damaged(path: Path, reason: object) -> UsageError:
    """The error for a file that exists and cannot be parsed."""
    return UsageError(f"{path} is damaged or of another format ({one_line(reason)}); replace it with a fresh copy")


def concatenated(parts: Sequence[Tensor]) -> Tensor:
    """One tensor in plain row-major order; torch.cat alone would keep the strides of permuted parts."""
    return torch.cat(list(parts)).contiguous()
