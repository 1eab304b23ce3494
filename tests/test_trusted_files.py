"""Files of data sets run nothing, are the published ones unless told otherwise, and have labels that fit."""

import hashlib
import os
import pickle
import shutil

import numpy as np
import on_disk
import pytest
import torch

from trainer import presets
from trainer.data import sets
from trainer.data.images import _as_published, load_images
from trainer.data.sets import cifar, saliency
from trainer.data.sets.plain_pickle import load_plain
from trainer.data.sets.raw import RawSet
from trainer.errors import UsageError

CIFAR = {
    "cifar10": (on_disk.write_cifar10, "cifar-10-batches-py", "data_batch_3", "CIFAR10"),
    "cifar100": (on_disk.write_cifar100, "cifar-100-python", "train", "CIFAR100"),
}


class Planted:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("own_files", [True, False])
@pytest.mark.parametrize("name", CIFAR)
@pytest.mark.parametrize("where", ["alone", "beside the images", "among the labels"])
def test_a_planted_pickle_runs_nothing(name, own_files, where, tmp_path):
    write, folder, file, _ = CIFAR[name]
    write(tmp_path)
    path, mark = tmp_path / folder / file, tmp_path / "it ran".replace(" ", "-")
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    content = (
        Planted(mark)
        if where == "alone"
        else {**content, "more" if where != "among the labels" else "labels": Planted(mark)}
    )
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UsageError, match="could run code" if own_files else "md5"):
        sets.read(name, tmp_path, download=False, own_files=own_files)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_are_read_in_every_protocol(protocol):
    content = {
        "data": np.arange(12, dtype=np.uint8).reshape(3, 4),
        "labels": [1, 2, 3],
        b"bytes": b"\xff",
        "scalar": np.int64(3),
    }
    found = load_plain(pickle.dumps(content, protocol=protocol))
    assert np.array_equal(found.pop("data"), content.pop("data")) and found == content


@pytest.mark.parametrize("name", CIFAR)
def test_published_checksums_are_compared_unless_the_files_are_ones_own(name, tmp_path, monkeypatch):
    write, folder, file, dataset = CIFAR[name]
    write(tmp_path)
    with pytest.raises(UsageError, match="md5 .*published.*--own-files"):
        sets.read(name, tmp_path, download=False)
    assert len(sets.read(name, tmp_path, download=False, own_files=True).labels)

    # files with the checksums that the publisher states are read without a word
    def stated(names):
        return {entry: hashlib.md5((tmp_path / folder / entry).read_bytes()).hexdigest() for entry in names}

    known = [one._replace(train=stated(one.train), test=stated(one.test)) if one.name == dataset else one
             for one in cifar.SETS]  # fmt: skip
    monkeypatch.setattr(cifar, "SETS", known)
    assert len(sets.read(name, tmp_path, download=False).labels)


def test_the_checksums_are_those_that_torchvision_knows():
    import torchvision.datasets

    for one in cifar.SETS:
        theirs = getattr(torchvision.datasets, one.name)
        assert list(one.train.items()) == list(map(tuple, theirs.train_list))
        assert list(one.test.items()) == list(map(tuple, theirs.test_list))
        assert (one.url, one.folder, one.meta) == (theirs.url, theirs.base_folder, theirs.meta["filename"])


def rewritten(path, **columns):
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    path.write_bytes(pickle.dumps({**content, **columns}, protocol=2))


def wrong_labels(kind, labels):
    labels = np.array(labels)
    return {
        "one-hot": np.eye(100, dtype=np.int64)[labels].tolist(), "fractions": (labels + 0.5).tolist(),
        "words": [str(k) for k in labels],
        "too few": labels[:-1].tolist(), "too large": (labels + 1).tolist(), "negative": (labels - 1).tolist(),
        "ragged": [[1], *labels[1:].tolist()],
        "booleans": (labels > 3).tolist(),
    }[kind]  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["one-hot", "fractions", "words", "too few", "too large", "negative", "ragged", "booleans"]
)
def test_labels_that_do_not_fit_are_refused_and_named(kind, tmp_path):
    _, labels = on_disk.write_cifar100(tmp_path)
    rewritten(tmp_path / "cifar-100-python/train", fine_labels=wrong_labels(kind, labels[:200]))
    with pytest.raises(UsageError, match="cifar-100-python.*label") as caught:
        load_images(own("cifar100_aug_smoke", tmp_path, "data.sizes=[100,50,50]"))
    assert "\n" not in str(caught.value)


def own(name, root, *words, own_files=True):
    return presets.load(name, words, {"runtime.data_root": str(root), "runtime.own_files": own_files})


def test_coarse_labels_in_the_place_of_fine_ones_are_refused(tmp_path):
    _, labels = on_disk.write_cifar100(tmp_path)
    rewritten(tmp_path / "cifar-100-python/train", fine_labels=(labels[:200] // 5).tolist())
    with pytest.raises(UsageError, match="coarse labels"):
        sets.read("cifar100", tmp_path, download=False, own_files=True)


@pytest.mark.parametrize("name, first, second", [
    ("cifar10", "cifar-10-batches-py/data_batch_2", "cifar-10-batches-py/data_batch_4"),
    ("stl10", "stl10_binary/train_X.bin", "stl10_binary/test_X.bin"),
    ("mnist", "MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/t10k-images-idx3-ubyte"),
])  # fmt: skip
def test_a_file_that_was_copied_over_another_is_named(name, first, second, tmp_path):
    write = {
        "cifar10": on_disk.write_cifar10,
        "stl10": on_disk.write_stl10,
        "mnist": lambda root: on_disk.write_mnist(root, packed=False),
    }[name]
    write(tmp_path)
    shutil.copy(tmp_path / first, tmp_path / second)
    with pytest.raises(UsageError, match="is the same file as"):
        sets.read(name, tmp_path, download=False, own_files=True)


@pytest.mark.parametrize(
    "preset, write",
    [
        ("stl10_saccades", on_disk.write_stl10),
        ("mnist_rot_only", on_disk.write_mnist),
        ("tiny_imagenet_aug", on_disk.write_tiny_imagenet),
    ],
)
def test_a_set_of_another_number_is_refused_even_where_few_images_are_asked_for(preset, write, tmp_path):
    write(tmp_path)
    sizes = ["data.sizes=[4,4,4]", "optim.batch_size=4"] + (["data.unlabelled=4"] if "stl10" in preset else [])
    with pytest.raises(UsageError, match="published are .*--own-files"):
        load_images(own(preset, tmp_path, *sizes, own_files=False))
    assert len(load_images(own(preset, tmp_path, *sizes)).splits["train"]) == 4


def test_every_class_must_be_there_in_a_published_set(tmp_path):
    from trainer.data.sets.labels import check_classes

    with pytest.raises(UsageError, match="20 classes, published are 100"):
        check_classes(tmp_path, torch.arange(1000) % 20, 100)
    check_classes(tmp_path, torch.cat([torch.full((9,), -1), torch.arange(100)]), 100)
    # and whoever loads a set of the published size is told
    labels = torch.arange(60_000) % 99
    raw = RawSet(torch.zeros(60_000, 1, 1, 1, dtype=torch.uint8), labels, test=10_000)
    with pytest.raises(UsageError, match="99 classes, published are 100"):
        _as_published(own("cifar100_aug_30", tmp_path, own_files=False), raw)
    _as_published(own("cifar100_aug_30", tmp_path), raw)


def test_what_macos_and_windows_add_to_a_tree_does_no_harm(tmp_path):
    images, labels = on_disk.write_tiny_imagenet(tmp_path)
    tree = tmp_path / "tiny-imagenet-200"
    before = sets.read("tiny_imagenet", tmp_path, download=False)
    for path in list(tree.rglob("*.JPEG")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
        if path.parent.parent.name != "n00001007":
            path.rename(path.with_suffix(".jpeg"))
    for name in ("wnids.txt", "val/val_annotations.txt"):
        (tree / name).write_bytes(b"\xef\xbb\xbf" + (tree / name).read_bytes())
    again = sets.read("tiny_imagenet", tmp_path, download=False)
    every = torch.arange(len(labels))
    assert torch.equal(again.images[every], before.images[every]) and torch.equal(again.labels, before.labels)
    for path in (tree / "train/n00001000/images").iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="holds no .jpeg"):
        sets.read("tiny_imagenet", tmp_path, download=False)


@pytest.mark.parametrize("how", ["option", "variable"])
def test_decoded_images_go_elsewhere_if_the_data_cannot_be_written(how, tmp_path, monkeypatch):
    from trainer.command.cli import Parser, add_data_options, data_settings

    data, cache = tmp_path / "data", tmp_path / "cache"
    on_disk.write_tiny_imagenet(data)
    on_disk.write_stl10(data)
    monkeypatch.setenv("SEQ_JEPA_CACHE", str(cache) if how == "variable" else "")
    parser = Parser()
    add_data_options(parser)
    words = ["--data-root", str(data), "--own-files", *(["--cache-dir", str(cache)] if how == "option" else [])]
    settings = data_settings(parser.parse_args(words), "data")
    # a trial's process may have another environment; from Python the variable alone must do
    assert settings["runtime.cache_dir"] == str(cache)
    if how == "variable":
        del settings["runtime.cache_dir"]
    before = sorted(data.rglob("*"))
    load_images(presets.load("tiny_imagenet_aug", ["data.sizes=[8,4,4]", "optim.batch_size=4"], settings))
    load_images(
        presets.load("stl10_saccades", ["data.sizes=[4,4,4]", "data.unlabelled=4", "optim.batch_size=4"], settings)
    )
    assert sorted(data.rglob("*")) == before
    assert {path.name for path in cache.iterdir()} == {"tiny_imagenet-shards", "stl10-saliency"}


def test_a_folder_that_cannot_be_written_is_said_with_the_remedy(tmp_path):
    on_disk.write_tiny_imagenet(tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="--cache-dir or .SEQ_JEPA_CACHE"):
        sets.read("tiny_imagenet", tmp_path / "data", download=False, made=tmp_path / "file" / "below", own_files=True)


def test_saliency_is_made_once_per_source_and_read_from_where_it_is_kept(tmp_path, monkeypatch, capsys):
    images = torch.from_numpy(on_disk.pictures(np.arange(70), 32))
    whole = saliency.centre_surround(images)
    assert torch.equal(saliency.kept(images, tmp_path / "maps", "one"), whole)
    assert "70 images, once" in capsys.readouterr().err
    made = []
    monkeypatch.setattr(
        saliency,
        "_batch_saliency",
        lambda rows: made.append(len(rows)) or torch.zeros(len(rows), 32, 32, dtype=torch.uint8),
    )
    assert torch.equal(saliency.kept(images, tmp_path / "maps", "one"), whole) and not made
    assert not torch.equal(saliency.kept(images, tmp_path / "maps", "two"), whole) and sum(made) == 70
    assert not saliency.kept(images, tmp_path / "none", "").any() and not (tmp_path / "none").exists()


def test_a_long_preparation_says_how_far_it_is(monkeypatch, capsys):
    from trainer.data import told

    monkeypatch.setattr(told, "EVERY_SECONDS", -1.0)
    assert list(told.told(iter("abc"), 100, "maps", done=4, step=32)) == ["a", "b", "c"]
    assert capsys.readouterr().err.splitlines() == ["maps: 36 of 100", "maps: 68 of 100", "maps: 100 of 100"]
