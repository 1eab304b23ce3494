"""Saliency maps: where a glimpse policy looks.

``centre_surround`` needs no network and no weights: it responds where a small neighbourhood differs from a
larger one in luminance or colour (Itti, Koch and Niebur, 1998, without orientation). ``read_maps`` takes maps
made elsewhere, such as DeepGaze IIE's, which the seq-JEPA paper uses (appendix A).
"""

from __future__ import annotations

import math
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.data.row_chunks import row_chunks
from trainer.data.sets.jpeg import fingerprint, in_threads
from trainer.data.sets.raw import damaged
from trainer.data.shards import is_complete, shard_paths, write_shards
from trainer.data.store import MappedImages, ResidentImages
from trainer.data.told import told
from trainer.errors import UsageError

CENTRES = (1 / 64, 1 / 32, 1 / 16)
"""Standard deviations of the centre, in sides of the image."""
SURROUND = 3.0
"""Standard deviation of the surround over the centre's."""
_BATCH = 32  # few enough to stay in a core's cache: twice as fast as 512


def centre_surround(images: Tensor | ResidentImages | MappedImages) -> Tensor:
    """Centre-surround saliency.

    The sum, over three scales and the channels luminance, red - green and blue - yellow, of the absolute
    difference of two Gaussian means, scaled so that the largest value of an image is 255. An image
    without contrast gets 255 everywhere: no place is more salient than another.

    Args:
        images: (N, 3, H, W) uint8.

    Returns:
        (N, H, W) uint8 on the images' device.
    """
    if len(images.shape) != 4 or images.shape[1] != 3:
        raise ValueError(f"images have shape {tuple(images.shape)}, not (N, 3, H, W)")
    maps = list(_in_batches(images, 0))
    return torch.cat(maps) if maps else torch.zeros((0, *images.shape[-2:]), dtype=torch.uint8)


def kept(images: Tensor | ResidentImages | MappedImages, folder: Path, source: str) -> Tensor:
    """Centre-surround saliency, computed once per source and kept in ``folder``; what is returned is mapped from there.

    A second or two per thousand images of 96 x 96, divided by the number of cores; one byte per pixel.

    Args:
        source: identity of the images; "" keeps nothing.
    """
    if not source:
        return centre_surround(images)
    shape = (images.shape[0], *images.shape[-2:])
    source = fingerprint([source, "centre-surround", *map(str, CENTRES), str(SURROUND)])
    if not is_complete(folder, source):
        print(f"{folder}: making the saliency maps of {shape[0]:,} images, once", file=sys.stderr, flush=True)
        write_shards(
            folder,
            lambda start: (one for rows in _in_batches(images, start) for one in rows.numpy()),
            shape,
            shape[0],
            source,
        )
    (path,) = shard_paths(folder)
    # "c": a tensor must be writable; a page that nobody writes is never copied
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def _in_batches(images: Tensor | ResidentImages | MappedImages, start: int) -> Iterator[Tensor]:
    """Maps of the images from ``start`` on, some at a time, on all cores."""
    if start >= images.shape[0]:
        return iter(())
    index = row_chunks(torch.arange(start, images.shape[0]), _BATCH)
    return told(
        in_threads(lambda rows: _batch_saliency(images[rows]), index), images.shape[0], "saliency maps", start, _BATCH
    )


def read_maps(path: Path, expected: tuple[int, int, int]) -> Tensor:
    """Read maps from ``.npy``, or from ``.npz`` with one array or an array ``saliency``.

    Args:
        expected: (N, H, W), one map per image in the set's order.

    Returns:
        uint8 (N, H, W); maps of floating point are densities and are scaled so that the largest value of each is 255.

    Raises:
        UsageError: file absent or damaged, another shape, or values that are negative or not finite.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a .npy or .npz file of saliency maps of shape {expected}")
    try:
        loaded = np.load(path, mmap_mode="r")
        if isinstance(loaded, np.lib.npyio.NpzFile):
            names = loaded.files
            name = "saliency" if "saliency" in names else names[0] if len(names) == 1 else None
            if name is None:
                raise UsageError(
                    f"{path} holds the arrays {', '.join(names)}; name the maps 'saliency' or keep only them"
                )
            loaded = loaded[name]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from error
    if loaded.shape != tuple(expected):
        raise UsageError(
            f"{path} holds maps of shape {loaded.shape}, but {tuple(expected)} is needed: "
            "one map per image, in the set's order"
        )
    if loaded.dtype.kind not in "uf" or (loaded.dtype.kind == "u" and loaded.dtype != np.uint8):
        raise UsageError(f"{path} holds {loaded.dtype}; save the maps as uint8 or as floating-point densities")
    result = np.empty(loaded.shape, dtype=np.uint8)
    for start in range(0, len(loaded), _BATCH):
        result[start : start + _BATCH] = _to_bytes(path, np.asarray(loaded[start : start + _BATCH]))
    return torch.from_numpy(result)


def _to_bytes(path: Path, maps: np.ndarray) -> np.ndarray:
    if maps.dtype == np.uint8:
        return maps
    maps = maps.astype(np.float64)
    if not np.isfinite(maps).all() or maps.min(initial=0) < 0:
        raise UsageError(f"{path} holds values that are negative or not finite; save densities, not their logarithms")
    largest = maps.max((1, 2), keepdims=True)
    return np.round(255 * np.divide(maps, largest, out=np.ones_like(maps), where=largest > 0)).astype(np.uint8)


def _batch_saliency(images: Tensor) -> Tensor:
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}, not uint8")
    red, green, blue = (images.float() / 255).unbind(1)
    channels = torch.stack([(red + green + blue) / 3, red - green, blue - (red + green) / 2], dim=1)
    side = min(images.shape[-2:])
    total = torch.zeros_like(red)
    for centre in CENTRES:
        difference = _blur(channels, centre * side) - _blur(channels, SURROUND * centre * side)
        total += difference.abs().sum(1)
    largest = total.amax((1, 2), keepdim=True)
    # below half a grey level there is nothing but rounding
    flat = largest < 0.5 / 255
    return torch.where(flat, 255.0, (255 * total / largest.clamp_min(1e-12)).round()).to(torch.uint8)


def _blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian mean with mirrored edges: one matrix product per axis, ten times as fast as convolutions on a CPU."""
    rows, columns = (_gaussian(side, sigma).to(images) for side in images.shape[-2:])
    return rows @ images @ columns.T


def _gaussian(side: int, sigma: float) -> Tensor:
    """(side, side): row i holds the weights of the mean around i, cut at three standard deviations or the side."""
    radius = min(max(1, math.ceil(3 * sigma)), side - 1)
    offset = torch.arange(-radius, radius + 1)
    weight = torch.exp(-0.5 * (offset / sigma) ** 2)
    place = (torch.arange(side)[:, None] + offset).abs()
    place = (side - 1) - ((side - 1) - place).abs()
    return torch.zeros(side, side).scatter_add_(1, place, (weight / weight.sum()).expand(side, -1))
