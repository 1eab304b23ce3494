"""3DIEBench (Garrido, Najman and LeCun, 2302.10283): rendered ShapeNet objects with recorded poses.

``<root>/3DIEBench/<synset>/<object>/image_{k}.jpg`` and ``latent_{k}.npy`` are the archive's tree; the list files
``train_images.npy``, ``train_labels.npy``, ``val_images.npy`` and ``val_labels.npy`` come from the authors' code.
A latent holds, in this order: three Tait-Bryan angles in radians about the fixed axes x, y, z, each in
+-pi/2; the floor's hue in [0, 1]; the light's polar angle in [0, pi/4], azimuth in [0, 2 pi] and hue in [0, 1].
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from trainer.data.sets.jpeg import decode, fingerprint, in_threads, sharded
from trainer.data.sets.places import Places, make_folder
from trainer.data.sets.raw import RawSet, damaged, require_files
from trainer.errors import UsageError

STORED, SIDE = 256, 128
LATENTS = 7
URL = "https://dl.fbaipublicfiles.com/SIE/3DIEBench.tar.gz"
LISTS_URL = "https://github.com/facebookresearch/SIE/tree/main/data"


def read(places: Places) -> RawSet:
    """52,472 objects in 55 classes with 50 views each, (N, 50, 3, 128, 128); test is the authors' validation list.

    Extras: ``quaternion`` (N, V, 4), scalar last; ``hue`` (N, V), the floor's; ``light`` (N, V, 3): polar angle,
    azimuth, hue. The first call decodes 2.6 million JPEG files into ``<root>/3diebench-shards`` (129 GB), resized
    to 128 px bicubically (SIE and seq-JEPA: bilinearly, which differs slightly). Later calls open that folder while
    the list files and the number of views are the same.

    Raises:
        UsageError: files absent or damaged, images of another size, or ``download``: 17 GB under a licence to accept.
    """
    root, download = places.root, places.download
    folder = root / "3DIEBench"
    remedy = (
        f"fetch {URL} (17 GB) and unpack it so that {folder}/<synset>/<object> exists, and copy the .npy lists of "
        f"{LISTS_URL} to {folder}"
    )
    lists = [f"{part}_{kind}.npy" for part in ("train", "val") for kind in ("images", "labels")]
    if download and not all((folder / name).exists() for name in lists):
        raise UsageError(f"3diebench is not downloaded automatically (17 GB, CC-BY-NC); {remedy}, without --download")
    require_files(folder, lists, remedy)
    train, train_labels = _list(folder, "train")
    validation, validation_labels = _list(folder, "val")
    objects = train + validation
    require_files(folder, objects[:1], remedy)
    views = len(list((folder / objects[0]).glob("image_*.jpg")))
    if views == 0:
        raise UsageError(f"{folder / objects[0]} holds no image_0.jpg; {remedy}")
    store = places.made / "3diebench-shards"
    source = fingerprint([*objects, f"{views} views", f"{SIDE} px"])
    latents = _latents(store, folder, objects, views, source)
    images = sharded(store, lambda name: _views(folder / name, views), objects, (views, 3, SIDE, SIDE), source)
    # Rotation, as SIE and seq-JEPA use it: lower-case axes are the fixed (extrinsic) ones
    quaternion = Rotation.from_euler("xyz", latents[..., :3].reshape(-1, 3)).as_quat().reshape(len(objects), views, 4)
    extras = {
        "quaternion": torch.from_numpy(quaternion).float(),
        "hue": torch.from_numpy(latents[..., 3]).float(),
        "light": torch.from_numpy(latents[..., 4:]).float(),
    }
    return RawSet(images, torch.cat([train_labels, validation_labels]), test=len(validation), extras=extras)


def _list(folder: Path, part: str) -> tuple[list[str], Tensor]:
    """Folders ``<synset>/<object>`` and classes of one part; the file writes them with slashes around."""
    columns = []
    for kind in ("images", "labels"):
        path = folder / f"{part}_{kind}.npy"
        try:
            columns.append(np.load(path))
        except (ValueError, EOFError, OSError) as error:
            raise damaged(path, error) from error
    names, labels = columns
    if names.dtype.kind not in "US" or names.ndim != 1:
        raise damaged(folder / f"{part}_images.npy", f"{names.dtype} {names.shape} is no list of names")
    if labels.shape != names.shape or labels.dtype.kind not in "iu":
        raise damaged(
            folder / f"{part}_labels.npy", f"{labels.dtype} {labels.shape} are no classes of {len(names)} objects"
        )
    return [str(name).strip("/") for name in names.astype(str)], torch.from_numpy(labels.astype(np.int64))


def _views(folder: Path, views: int) -> np.ndarray:
    return np.stack([decode(folder / f"image_{view}.jpg", STORED, SIDE) for view in range(views)])


def _latents(store: Path, folder: Path, objects: list[str], views: int, source: str) -> np.ndarray:
    """(N, V, 7) float64; kept beside the shards because reading millions of small files takes as long as the images."""
    path = store / f"latents-{source[:16]}.npy"
    if not path.exists():
        make_folder(store)
        rows = np.stack(list(in_threads(lambda name: _object_latents(folder / name, views), objects)))
        for old in store.glob("latents-*.npy"):
            old.unlink()
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            np.save(file, rows)
        os.replace(temporary, path)
    try:
        latents = np.load(path)
    except (ValueError, EOFError, OSError) as error:
        raise damaged(path, error) from error
    if latents.shape != (len(objects), views, LATENTS):
        raise damaged(path, f"shape {latents.shape} instead of {(len(objects), views, LATENTS)}")
    return latents


def _object_latents(folder: Path, views: int) -> np.ndarray:
    rows = []
    for view in range(views):
        path = folder / f"latent_{view}.npy"
        try:
            rows.append(np.load(path).astype(np.float64))
        except FileNotFoundError:
            raise UsageError(f"{path} is missing; unpack the archive again") from None
        except (ValueError, EOFError, OSError) as error:
            raise damaged(path, error) from error
        if rows[-1].shape != (LATENTS,) or not np.isfinite(rows[-1]).all():
            raise damaged(path, f"{rows[-1].shape} is not {LATENTS} finite numbers")
    return np.stack(rows)
