"""Writers of tiny data sets in their published formats: what they write they also return.

The images are smooth patterns whose colour and direction depend on the class, so JPEG changes them little.
"""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image


def pictures(labels: np.ndarray, side: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """(n, channels, side, side) uint8: a wave per image, its direction and colour set by the class."""
    random = np.random.default_rng(seed)
    labels = np.asarray(labels)[:, None, None]
    y, x = np.mgrid[:side, :side] / side
    angle = labels * 2.4
    phase = random.uniform(0, 2 * np.pi, labels.shape)
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) + phase)
    colour = 0.5 + 0.4 * np.cos(labels[..., None] * 1.7 + 2.1 * np.arange(channels))
    image = (0.55 + 0.4 * wave)[:, None] * colour[:, 0, 0, :, None, None]
    return np.round(255 * image).astype(np.uint8)


def labels_of(count: int, classes: int, seed: int = 0) -> np.ndarray:
    """(count,) classes in a random order, all as frequent as possible."""
    return np.random.default_rng(seed).permutation(np.arange(count) % classes)


def write_mnist(root: Path, train: int = 20, test: int = 10, packed: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """idx files (gzipped, or plain) under ``MNIST/raw``; returns images (n, 1, 28, 28) and labels, test last."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    parts = []
    for name, count in (("train", train), ("t10k", test)):
        labels = labels_of(count, 10, count)
        images = pictures(labels, 28, 1)
        contents = {
            f"{name}-images-idx3-ubyte": struct.pack(">4I", 0x803, count, 28, 28) + images.tobytes(),
            f"{name}-labels-idx1-ubyte": struct.pack(">2I", 0x801, count) + labels.astype(np.uint8).tobytes(),
        }
        for file, content in contents.items():
            if packed:
                (folder / f"{file}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / file).write_bytes(content)
        parts.append((images, labels))
    return _joined(parts)


def write_cifar10(root: Path, train: int = 50, test: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Five training batches, a test batch and ``batches.meta``; returns images (n, 3, 32, 32) and labels, test last."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [b"class %d" % k for k in range(10)]
    _pickle(folder / "batches.meta", {b"label_names": names, b"num_cases_per_batch": train // 5, b"num_vis": 3072})
    parts = []
    for number, count in [(k, train // 5) for k in range(1, 6)] + [(0, test)]:
        labels = labels_of(count, 10, number)
        images = pictures(labels, 32, seed=number)
        batch = {b"batch_label": b"a batch", b"labels": labels.tolist(), b"data": images.reshape(count, -1)}
        batch[b"filenames"] = [b"image_%d.png" % k for k in range(count)]
        _pickle(folder / (f"data_batch_{number}" if number else "test_batch"), batch)
        parts.append((images, labels))
    return _joined(parts)


def write_cifar100(root: Path, train: int = 200, test: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """``train``, ``test`` and ``meta``; returns images (n, 3, 32, 32) and fine labels, test last."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    names = {b"fine_label_names": [b"fine %d" % k for k in range(100)]}
    _pickle(folder / "meta", {**names, b"coarse_label_names": [b"coarse %d" % k for k in range(20)]})
    parts = []
    for name, count in (("train", train), ("test", test)):
        labels = labels_of(count, 100, count)
        images = pictures(labels, 32)
        columns = {b"fine_labels": labels.tolist(), b"coarse_labels": (labels // 5).tolist()}
        columns[b"filenames"] = [b"image_%d.png" % k for k in range(count)]
        _pickle(folder / name, {**columns, b"data": images.reshape(count, -1), b"batch_label": b"a batch"})
        parts.append((images, labels))
    return _joined(parts)


def write_tiny_imagenet(root: Path, train: int = 4, test: int = 10, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """The JPEG tree with ``train`` images per class; one is grey.

    Returns images (n, 3, 64, 64) before compression and labels, test last.
    """
    folder = root / "tiny-imagenet-200"
    wnids = [f"n{1000 + 7 * k:08d}" for k in range(classes)]
    (folder / "val" / "images").mkdir(parents=True)
    # the published file is not sorted either
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in reversed(wnids)))
    (folder / "words.txt").write_text("".join(f"{wnid}\tthing {wnid}\n" for wnid in wnids))
    parts = []
    for number, wnid in enumerate(wnids):
        (folder / "train" / wnid / "images").mkdir(parents=True)
        images = pictures(np.full(train, number), 64, seed=number)
        if number == 0:
            images[0] = images[0, :1]
        for k in range(train):
            save_jpeg(folder / "train" / wnid / "images" / f"{wnid}_{k}.JPEG", images[k], grey=number == 0 and k == 0)
        boxes = "".join(f"{wnid}_{k}.JPEG\t0\t0\t62\t62\n" for k in range(train))
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(boxes)
        parts.append((images, np.full(train, number)))
    labels = labels_of(test, classes)
    images = pictures(labels, 64, seed=99)
    for k in range(test):
        save_jpeg(folder / "val" / "images" / f"val_{k}.JPEG", images[k])
    lines = [f"val_{k}.JPEG\t{wnids[label]}\t0\t0\t62\t62\n" for k, label in enumerate(labels)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    return _joined([*parts, (images, labels)])


def write_stl10(root: Path, unlabelled: int = 12, train: int = 10, test: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The binary files; returns images (n, 3, 96, 96) and labels (-1 first), in the order unlabelled, train, test."""
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    parts = []
    for name, count in (("unlabeled", unlabelled), ("train", train), ("test", test)):
        labels = labels_of(count, 10, count)
        images = pictures(labels, 96, seed=count)
        images.transpose(0, 1, 3, 2).tofile(folder / f"{name}_X.bin")
        if name == "unlabeled":
            labels = np.full(count, -1)
        else:
            (labels + 1).astype(np.uint8).tofile(folder / f"{name}_y.bin")
        parts.append((images, labels))
    (folder / "class_names.txt").write_text("".join(f"class {k}\n" for k in range(10)))
    (folder / "fold_indices.txt").write_text("".join(" ".join(map(str, range(train))) + " \n" for _ in range(10)))
    return _joined(parts)


def write_3diebench(
    root: Path, train: int = 4, test: int = 2, views: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tree with its lists; returns images (n, V, 3, 256, 256) before compression, labels, latents (n, V, 7)."""
    folder = root / "3DIEBench"
    random = np.random.default_rng(0)
    labels, images, latents, names = labels_of(train + test, 2), [], [], []
    for number, label in enumerate(labels):
        names.append(f"/{2691156 + label:08d}/{number:032x}/")
        place = folder / names[-1].strip("/")
        place.mkdir(parents=True)
        images.append(pictures(np.arange(views) + 10 * label, 256, seed=number))
        low, high = [-np.pi / 2] * 3 + [0] * 4, [np.pi / 2] * 3 + [1, np.pi / 4, 2 * np.pi, 1]
        latents.append(random.uniform(low, high, (views, 7)))
        for view in range(views):
            save_jpeg(place / f"image_{view}.jpg", images[-1][view])
            np.save(place / f"latent_{view}.npy", latents[-1][view])
    for part, rows in (("train", slice(0, train)), ("val", slice(train, None))):
        np.save(folder / f"{part}_images.npy", np.array(names[rows]))
        np.save(folder / f"{part}_labels.npy", labels[rows])
    return np.stack(images), labels, np.stack(latents)


def save_jpeg(path: Path, image: np.ndarray, grey: bool = False) -> None:
    """(3, H, W) uint8 to a JPEG file of high quality without colour subsampling."""
    pixels = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    (pixels.convert("L") if grey else pixels).save(path, format="JPEG", quality=98, subsampling=0)


class _Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, which the published files hold: readers decode them as they
    choose."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, text: bytes) -> None:
        size = struct.pack("<B", len(text)) if len(text) < 256 else struct.pack("<i", len(text))
        self.write((pickle.SHORT_BINSTRING if len(text) < 256 else pickle.BINSTRING) + size + text)
        self.memoize(text)

    dispatch[bytes] = save_bytes


def _pickle(path: Path, content: dict) -> None:
    with path.open("wb") as file:
        _Python2Pickler(file, protocol=2).dump(content)


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts]).astype(
        np.int64
    )
