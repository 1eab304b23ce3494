"""Readers of published data sets, the generated miniature of 3DIEBench, and saliency maps."""

import hashlib
import re
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import on_disk
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from small import config

from trainer.config import SETS
from trainer.data import sets
from trainer.data.images import load_images
from trainer.data.sets import cifar, jpeg, mini3d, saliency, tiny_imagenet
from trainer.data.sets.raw import RawSet
from trainer.data.store import MappedImages
from trainer.errors import UsageError

LOSSLESS = {
    "mnist": on_disk.write_mnist,
    "cifar10": on_disk.write_cifar10,
    "cifar100": on_disk.write_cifar100,
    "stl10": on_disk.write_stl10,
}
TEST = {"mnist": 10, "cifar10": 20, "cifar100": 100, "stl10": 8, "tiny_imagenet": 10, "3diebench": 2}


def all_of(images):
    return images[torch.arange(images.shape[0])].numpy()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def mini():
    return mini3d.generate(objects=40, views=4)


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_format_is_read_pixel_for_pixel(name, tmp_path):
    images, labels = LOSSLESS[name](tmp_path)
    raw = sets.read(name, tmp_path, download=False, own_files=True)
    assert np.array_equal(all_of(raw.images), images)
    assert np.array_equal(raw.labels.numpy(), labels) and raw.labels.dtype == torch.int64
    assert raw.test == TEST[name]


def test_a_set_without_files_is_a_line_of_each_table(monkeypatch):
    monkeypatch.setitem(sets.READERS, "own", sets.Reader("digits"))
    monkeypatch.setitem(SETS, "own", SETS["digits"])
    assert torch.equal(load_images(config("data.name=own")).images, load_images(config("data.name=digits")).images)


def test_mnist_is_read_from_unpacked_files_too(tmp_path):
    images, _ = on_disk.write_mnist(tmp_path, packed=False)
    assert np.array_equal(sets.read("mnist", tmp_path, download=False, own_files=True).images.numpy(), images)


def test_cifar_is_the_same_as_torchvision_reads_it(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10, CIFAR100

    for ours, theirs in zip(cifar.SETS, (CIFAR10, CIFAR100), strict=True):
        assert (ours.url, ours.folder, ours.meta) == (theirs.url, theirs.base_folder, theirs.meta["filename"])
        assert [*ours.train.items()] == [*map(tuple, theirs.train_list)] and [*ours.test] == [theirs.test_list[0][0]]
        assert ours.test[theirs.test_list[0][0]] == theirs.test_list[0][1]
    on_disk.write_cifar100(tmp_path)
    raw = sets.read("cifar100", tmp_path, download=False, own_files=True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: True)
    ours = raw.images[:-100].permute(0, 2, 3, 1).numpy()
    assert np.array_equal(ours, CIFAR100(str(tmp_path)).data)


def test_stl10_is_the_same_as_torchvision_reads_it(tmp_path, monkeypatch):
    from torchvision.datasets import STL10

    on_disk.write_stl10(tmp_path)
    raw = sets.read("stl10", tmp_path, download=False, own_files=True)
    monkeypatch.setattr("torchvision.datasets.stl10.check_integrity", lambda path, md5=None: True)
    for split, rows in (("unlabeled", slice(0, 12)), ("train", slice(12, 22)), ("test", slice(22, 30))):
        reference = STL10(str(tmp_path), split=split)
        assert np.array_equal(all_of(raw.images)[rows], reference.data)
        assert np.array_equal(raw.labels[rows].numpy(), np.asarray(reference.labels).astype(np.int8))


def test_stl10_is_read_where_it_lies(tmp_path):
    """Its unlabelled images alone are 2.8 GB: here 83 MB, a hole on the disk."""
    on_disk.write_stl10(tmp_path)
    file = tmp_path / "stl10_binary" / "unlabeled_X.bin"
    with file.open("r+b") as grown:
        grown.truncate(3_000 * 3 * 96 * 96)
    tracemalloc.start()
    raw = sets.read("stl10", tmp_path, download=False, own_files=True)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert raw.images.shape[0] == 3_018 and held < 2**23


def test_tiny_imagenet_is_decoded_once_and_a_changed_tree_is_noticed(tmp_path, monkeypatch):
    images, labels = on_disk.write_tiny_imagenet(tmp_path)
    raw = sets.read("tiny_imagenet", tmp_path, download=False, own_files=True)
    assert np.abs(all_of(raw.images).astype(int) - images).mean() < 2
    assert np.array_equal(raw.labels.numpy(), labels) and raw.test == 10
    decoded = []
    monkeypatch.setattr(tiny_imagenet, "decode", lambda *arguments: decoded.append(1) or jpeg.decode(*arguments))
    again = sets.read("tiny_imagenet", tmp_path, download=False, own_files=True)
    assert not decoded and np.array_equal(all_of(again.images), all_of(raw.images))
    (tmp_path / "tiny-imagenet-200/train/n00001000/images/n00001000_3.JPEG").unlink()
    fewer = sets.read("tiny_imagenet", tmp_path, download=False, own_files=True)
    assert len(decoded) == fewer.images.shape[0] == len(images) - 1
    assert np.array_equal(all_of(fewer.images), np.delete(all_of(raw.images), 3, axis=0))


def test_3diebench_has_its_views_poses_and_hues(tmp_path):
    images, labels, latents = on_disk.write_3diebench(tmp_path)
    for _ in range(2):  # from the tree, then from the shards
        raw = sets.read("3diebench", tmp_path, download=False, own_files=True)
        assert raw.images.shape == (6, 3, 3, 128, 128)
        assert np.array_equal(raw.labels.numpy(), labels) and raw.test == 2
        halved = images.reshape(6, 3, 3, 128, 2, 128, 2).mean((4, 6))
        assert np.abs(all_of(raw.images) - halved).mean() < 2
        # a product of three rotations about fixed axes, x first
        x, y, z = (Rotation.from_rotvec(latents[..., k].reshape(-1, 1) * np.eye(3)[k]) for k in range(3))
        expected = (z * y * x).as_matrix()
        quaternion = raw.extras["quaternion"].reshape(-1, 4)
        assert raw.extras["quaternion"].shape == (6, 3, 4) and quaternion.dtype == torch.float32
        assert np.abs(Rotation.from_quat(quaternion.numpy()).as_matrix() - expected).max() < 1e-6
        assert np.allclose(raw.extras["hue"], latents[..., 3]) and np.allclose(raw.extras["light"], latents[..., 4:])
    merged = raw.images.merged()
    assert torch.equal(merged[torch.tensor([4 * 3 + 2])][0], raw.images[torch.tensor([4])][0, 2])


def test_a_resize_is_bicubic_with_antialiasing(tmp_path):
    from torchvision.transforms.v2.functional import InterpolationMode, resize

    image = np.random.default_rng(0).integers(0, 256, (3, 256, 256), dtype=np.uint8)
    Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "noise.png")  # lossless; the decoder asks for no format
    ours = torch.from_numpy(jpeg.decode(tmp_path / "noise.png", 256, 128).copy()).int()
    for antialias, bound in ((True, 1), (False, 40)):
        reference = resize(torch.from_numpy(image), [128, 128], InterpolationMode.BICUBIC, antialias=antialias).int()
        assert (float((ours - reference).abs().max()) <= bound) is antialias
    bilinear = resize(torch.from_numpy(image), [128, 128], InterpolationMode.BILINEAR, antialias=True).int()
    assert float((ours - bilinear).abs().float().mean()) > 3


@pytest.mark.parametrize("name", [*LOSSLESS, "tiny_imagenet", "3diebench"])
def test_absent_data_are_one_line_that_says_where_what_and_how(name, tmp_path):
    with pytest.raises(UsageError) as caught:
        sets.read(name, tmp_path, download=False, own_files=True)
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path) in message and "does not hold" in message
    assert re.search(r"https?://", message) and "unpack" in message
    assert ("--download" in message) is (name != "3diebench")


def test_3diebench_is_not_downloaded(tmp_path):
    with pytest.raises(UsageError, match="not downloaded automatically.*17 GB"):
        sets.read("3diebench", tmp_path, download=True)


DAMAGED = [
    ("mnist", "MNIST/raw/t10k-images-idx3-ubyte.gz"),
    ("mnist", "MNIST/raw/train-labels-idx1-ubyte.gz"),
    ("cifar10", "cifar-10-batches-py/data_batch_3"),
    ("cifar100", "cifar-100-python/test"),
    ("stl10", "stl10_binary/unlabeled_X.bin"),
    ("stl10", "stl10_binary/test_y.bin"),
    ("tiny_imagenet", "tiny-imagenet-200/val/images/val_3.JPEG"),
    ("tiny_imagenet", "tiny-imagenet-200/val/val_annotations.txt"),
    ("3diebench", "3DIEBench/val_labels.npy"),
    ("3diebench", f"3DIEBench/02691156/{0:032x}/image_1.jpg"),
    ("3diebench", f"3DIEBench/02691156/{0:032x}/latent_1.npy"),
]


@pytest.mark.parametrize("name, file", DAMAGED)
def test_a_damaged_file_is_named(name, file, tmp_path):
    {**LOSSLESS, "tiny_imagenet": on_disk.write_tiny_imagenet, "3diebench": on_disk.write_3diebench}[name](tmp_path)
    matches = [tmp_path / file] if (tmp_path / file).exists() else sorted(tmp_path.glob(file.replace("02691156", "*")))
    path = matches[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3 - 1])
    with pytest.raises(UsageError, match=re.escape(path.name)) as caught:
        sets.read(name, tmp_path, download=False, own_files=True)
    assert "damaged" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content, what", [
    (b"\0\0\x08\x01" + b"\0\0\0\x0a" + bytes(10), "does not begin as bytes in 3 dimensions"),
    (b"\0\0\x0d\x03" + bytes(12), "does not begin"),
    (b"\0\0\x08", "does not begin"),
    (b"\0\0\x08\x03" + b"\0\0\0\x02" * 3 + bytes(9), "9 bytes are not"),
])  # fmt: skip
def test_an_idx_file_of_another_form_is_named(content, what, tmp_path):
    on_disk.write_mnist(tmp_path, packed=False)
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(UsageError, match=f"train-images-idx3-ubyte is damaged.*{what}"):
        sets.read("mnist", tmp_path, download=False, own_files=True)


def test_a_damaged_image_leaves_no_shards_that_could_be_taken_for_complete(tmp_path):
    on_disk.write_tiny_imagenet(tmp_path)
    path = tmp_path / "tiny-imagenet-200/val/images/val_3.JPEG"
    good = path.read_bytes()
    path.write_bytes(b"not an image")
    with pytest.raises(UsageError, match="val_3.JPEG"):
        sets.read("tiny_imagenet", tmp_path, download=False, own_files=True)
    path.write_bytes(good)
    assert sets.read("tiny_imagenet", tmp_path, download=False, own_files=True).images.shape == (30, 3, 64, 64)


def test_images_of_another_size_are_refused(tmp_path):
    images, _ = on_disk.write_tiny_imagenet(tmp_path)
    on_disk.save_jpeg(tmp_path / "tiny-imagenet-200/val/images/val_0.JPEG", images[0, :, :32, :32])
    with pytest.raises(UsageError, match="32 x 32 pixels instead of 64 x 64"):
        sets.read("tiny_imagenet", tmp_path, download=False, own_files=True)


def test_an_unknown_name_is_refused(tmp_path):
    with pytest.raises(UsageError, match="'imagenet'.*tiny_imagenet"):
        sets.read("imagenet", tmp_path, download=False, own_files=True)
    assert set(SETS) == {*sets.READERS, "digits"} and set(sets.FOLDERS) < set(sets.READERS)


def test_a_download_is_verified_unpacked_and_its_failure_is_one_line(tmp_path, monkeypatch):
    source, root = tmp_path / "source", tmp_path / "root"
    images, _ = on_disk.write_tiny_imagenet(source)
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as archive:
        for path in sorted(source.rglob("*")):
            archive.write(path, path.relative_to(source))
    serve = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(tiny_imagenet, "URL", f"http://127.0.0.1:{server.server_port}/tiny-imagenet-200.zip")
        with pytest.raises(UsageError, match="downloading http:.* failed"):
            sets.read("tiny_imagenet", root, download=True)  # the published md5 is not this archive's
        assert not (root / "tiny-imagenet-200").exists()
        content = (tmp_path / "tiny-imagenet-200.zip").read_bytes()
        monkeypatch.setattr(tiny_imagenet, "MD5", hashlib.md5(content).hexdigest())
        raw = sets.read("tiny_imagenet", root, download=True)
        server.shutdown()
    assert raw.images.shape[0] == len(images)
    assert sets.read("tiny_imagenet", root, download=True).test == 10  # nothing left to fetch: the server is gone


TORCHVISION = [("mnist", "MNIST"), ("cifar10", "CIFAR10"), ("cifar100", "CIFAR100"), ("stl10", "STL10")]


@pytest.mark.parametrize("name, dataset", TORCHVISION)
def test_a_failing_torchvision_download_is_one_line(name, dataset, tmp_path, monkeypatch):
    import torchvision.datasets

    def fail(*arguments, **options):
        raise RuntimeError("no\nroute")

    monkeypatch.setattr(getattr(torchvision.datasets, dataset), "download", fail)
    with pytest.raises(UsageError, match="failed: no route; fetch it by hand"):
        sets.read(name, tmp_path, download=True)


def test_torchvision_is_imported_only_to_download(tmp_path):
    """It takes a second and 160 MiB of every process."""
    for write in (*LOSSLESS.values(), on_disk.write_tiny_imagenet):
        write(tmp_path)
    code = f"""
import sys
from pathlib import Path
from trainer.data import sets
for name in {[*LOSSLESS, "tiny_imagenet"]}:
    sets.read(name, Path(sys.argv[1]), download=False, own_files=True)
from trainer.data.sets import mini3d
print("torchvision" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_raw_set_refuses_what_does_not_fit():
    images, labels = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
    wrong_labels = [{"labels": labels[:3]}, {"labels": labels.int()}]
    for wrong in (*wrong_labels, {"images": images.float()}, {"test": 5}, {"extras": {"hue": torch.zeros(3)}}):
        with pytest.raises(ValueError):
            RawSet(**{"images": images, "labels": labels, "test": 1, **wrong})


def test_mini3d_is_the_same_each_time_and_changes_with_its_seed(mini):
    again, other = mini3d.generate(objects=40, views=4), mini3d.generate(objects=40, views=4, seed=1)
    assert torch.equal(mini.images, again.images) and torch.equal(mini.extras["hue"], again.extras["hue"])
    assert (mini.images != other.images).float().mean() > 0.3
    assert mini.images.shape == (40, 4, 3, 32, 32) and mini.test == 8
    assert torch.equal(torch.bincount(mini.labels), torch.full((10,), 4))
    assert torch.equal(torch.bincount(mini.labels[-8:], minlength=10), torch.tensor([0, 0, 1, 1, 1, 1, 1, 1, 1, 1]))
    assert mini3d.generate(objects=6, views=2, size=48, classes=3).images.shape == (6, 2, 3, 48, 48)


def test_turning_one_view_by_the_relative_rotation_renders_the_other(mini):
    planes = mini3d.solid_planes(mini.labels.numpy(), 0)
    first, second = (Rotation.from_quat(mini.extras["quaternion"][:, view].double().numpy()) for view in (0, 1))
    relative = first.inv() * second  # the recorded action
    reached = (first * relative).as_quat()
    hue = mini.extras["hue"][:, 1].numpy()
    assert np.array_equal(mini3d.render(planes, reached, hue, 32), mini.images[:, 1].numpy())
    assert np.array_equal(mini3d.render(planes, -reached, hue, 32), mini.images[:, 1].numpy())
    wrong = (relative * first).as_quat()
    assert (mini3d.render(planes, wrong, hue, 32) != mini.images[:, 1].numpy()).mean() > 0.1


def test_hue_changes_only_the_colour_of_the_floor(mini):
    planes, quaternion = mini3d.solid_planes(mini.labels.numpy(), 0), mini.extras["quaternion"][:, 0].numpy()
    red, green = (mini3d.render(planes, quaternion, np.full(40, hue, dtype=np.float32), 32) for hue in (0.0, 1 / 3))
    # the solid is grey; the floor keeps its value and saturation
    assert np.array_equal(red.max(1), green.max(1)) and np.array_equal(red.min(1), green.min(1))
    solid = red.max(1) == red.min(1)
    assert np.array_equal(red.transpose(0, 2, 3, 1)[solid], green.transpose(0, 2, 3, 1)[solid])
    assert (red.argmax(1)[~solid] == 0).all() and (green.argmax(1)[~solid] == 1).all()
    assert 0.1 < solid.mean() < 0.5


def test_colours_are_those_of_hsv():
    import colorsys

    hue = np.linspace(0, 0.999, 97).astype(np.float32)
    expected = [colorsys.hsv_to_rgb(float(value), 0.6, 0.8) for value in hue]
    assert np.abs(mini3d._hsv(hue, 0.6, 0.8) - expected).max() < 1e-6


def test_rendering_agrees_with_a_ray_march_through_the_planes(mini):
    """Sample the solid densely along z, point by point: the outline and the shade must be the same."""
    planes, quaternion = mini3d.solid_planes(np.arange(4), 0), mini.extras["quaternion"][:4, 0].double().numpy()
    image = mini3d.render(planes, quaternion, np.zeros(4, dtype=np.float32), 32)
    solid = image.max(1) == image.min(1)
    axis = ((np.arange(32) + 0.5) / 16 - 1) * 1.02
    depth = np.linspace(1, -1, 501)
    x, y, z = np.meshgrid(axis, -axis, depth, indexing="xy")
    points = np.stack([x, y, z], axis=-1)
    for k in range(4):
        own = points @ Rotation.from_quat(quaternion[k]).as_matrix()  # undo the rotation
        height = own @ planes[k, ..., :3].transpose(0, 2, 1)[:, None, None]
        inside = (height <= planes[k, :, None, None, None, :, 3]).all(-1).any(0)
        assert (inside.any(-1) != solid[k]).mean() < 0.01
        hit = inside.any(-1) & solid[k]
        surface = own[np.arange(32)[:, None], np.arange(32), inside.argmax(-1)][hit]
        gap = np.abs(np.einsum("qc,pfc->qpf", surface, planes[k, ..., :3]) - planes[k, ..., 3])
        normals = np.einsum("pfc,dc->pfd", planes[k, ..., :3], Rotation.from_quat(quaternion[k]).as_matrix()).reshape(
            -1, 3
        )
        light = mini3d.LIGHT / np.linalg.norm(mini3d.LIGHT)
        shade = 255 * (0.2 + 0.8 * np.clip(normals[gap.reshape(len(surface), -1).argmin(1)] @ light, 0, None))
        assert (np.abs(shade - image[k, 0][hit]) > 2).mean() < 0.1  # pixels on an edge may take the neighbour's shade


def test_quaternions_are_unit_and_uniform_over_the_rotations():
    numbers = mini3d._uniform(3, mini3d._VIEW, 20_000, 4)
    quaternion = mini3d._uniform_rotations(numbers[:, :3])
    assert np.abs(np.linalg.norm(quaternion, axis=1) - 1).max() < 1e-6 and quaternion[:, 3].min() >= 0
    rotation = Rotation.from_quat(quaternion)
    # Haar measure: the angle has density (1 - cos a) / pi, every axis is turned to a uniform direction
    angle = np.sort(rotation.magnitude())
    distance = np.abs((angle - np.sin(angle)) / np.pi - (np.arange(20_000) + 0.5) / 20_000).max()
    assert distance < 1.63 / np.sqrt(20_000)  # Kolmogorov-Smirnov, 1 %
    matrix = rotation.as_matrix()
    assert np.abs(matrix.mean(0)).max() < 0.02
    for column in range(3):
        height = np.sort(matrix[:, 2, column])  # Archimedes: uniform in [-1, 1]
        assert np.abs((height + 1) / 2 - (np.arange(20_000) + 0.5) / 20_000).max() < 1.63 / np.sqrt(20_000)


def test_objects_of_a_class_are_alike_and_not_equal():
    planes = mini3d.solid_planes(np.array([0, 0, 0, 1, 1, 1]), 0)
    hue, pose = np.zeros(6, dtype=np.float32), np.tile([0.0, 0, 0, 1], (6, 1))
    image = mini3d.render(planes, pose, hue, 32)[:, 0].astype(float)
    gap = np.abs(image[:, None] - image[None]).mean((2, 3))
    within = np.concatenate([gap[:3, :3][np.triu_indices(3, 1)], gap[3:, 3:][np.triu_indices(3, 1)]])
    assert within.min() > 1 and within.mean() < 0.8 * gap[:3, 3:].mean()
    alone = mini3d.solid_planes(np.array([0, 0]), 0)
    assert np.array_equal(alone, planes[:2])


def test_centre_surround_is_a_difference_of_gaussians():
    images = torch.from_numpy(on_disk.pictures(np.arange(4), 48)).clone()
    images[:, 0, 20:24, 30:34] = 255
    images[:, 1:, 20:24, 30:34] = 0
    ours = saliency.centre_surround(images).numpy().astype(float)
    red, green, blue = images.double().numpy().transpose(1, 0, 2, 3) / 255
    for k in range(4):
        total = np.zeros((48, 48))
        for channel in ((red + green + blue)[k] / 3, (red - green)[k], (blue - (red + green) / 2)[k]):
            for centre in saliency.CENTRES:
                sigmas = (48 * centre, 48 * saliency.SURROUND * centre)
                inner, outer = (gaussian_filter(channel, sigma, mode="mirror", truncate=3.0) for sigma in sigmas)
                total += np.abs(inner - outer)
        gap = np.abs(ours[k] - 255 * total / total.max())
        assert gap.max() < 12 and gap.mean() < 2
        peak = np.unravel_index(ours[k].argmax(), (48, 48))
        assert 18 <= peak[0] <= 25 and 28 <= peak[1] <= 35


def test_centre_surround_of_nothing_is_even_and_batches_do_not_matter(monkeypatch):
    flat = torch.full((2, 3, 32, 32), 77, dtype=torch.uint8)
    assert torch.equal(saliency.centre_surround(flat), torch.full((2, 32, 32), 255, dtype=torch.uint8))
    images = torch.from_numpy(on_disk.pictures(np.arange(7), 32))
    whole = saliency.centre_surround(images)
    assert (whole.amax((1, 2)) == 255).all() and whole.dtype == torch.uint8
    monkeypatch.setattr(saliency, "_BATCH", 3)
    for source in (images, MappedImages([images[:4].numpy(), images[4:].numpy()])):
        assert int((saliency.centre_surround(source).int() - whole.int()).abs().max()) <= 1
    with pytest.raises(ValueError, match="uint8"):
        saliency.centre_surround(images.float())


def test_maps_made_elsewhere_are_read_and_checked(tmp_path):
    density = np.random.default_rng(0).random((5, 8, 8))
    expected = np.round(255 * density / density.max((1, 2), keepdims=True)).astype(np.uint8)
    np.save(tmp_path / "density.npy", density)
    np.savez(tmp_path / "named.npz", saliency=density.astype(np.float32), other=density)
    np.save(tmp_path / "bytes.npy", expected)
    for name in ("density.npy", "named.npz", "bytes.npy"):
        assert np.array_equal(saliency.read_maps(tmp_path / name, (5, 8, 8)).numpy(), expected), name
    np.save(tmp_path / "log.npy", np.log(density))
    np.save(tmp_path / "int.npy", expected.astype(np.int32))
    np.savez(tmp_path / "two.npz", a=density, b=density)
    (tmp_path / "torn.npy").write_bytes((tmp_path / "density.npy").read_bytes()[:100])
    wrong = {
        "log.npy": "negative",
        "int.npy": "int32",
        "two.npz": "'saliency'",
        "torn.npy": "damaged",
        "no.npy": "exist",
    }
    for name, words in wrong.items():
        path = tmp_path / name
        with pytest.raises(UsageError, match=words):
            saliency.read_maps(path, (5, 8, 8))
    with pytest.raises(UsageError, match=re.escape("(5, 8, 8), but (6, 8, 8)")):
        saliency.read_maps(tmp_path / "density.npy", (6, 8, 8))
