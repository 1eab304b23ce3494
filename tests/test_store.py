"""Images on disk and in memory: one contract, the same bits."""

import json
import threading
import time

import numpy as np
import pytest
import torch

from trainer.data import shards, store
from trainer.errors import UsageError

SHAPE = (50, 3, 2, 8, 8)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)


def write(folder, pixels, per_shard=7, source="", fail_at=None, started=None):
    def images_from(start):
        if started is not None:
            started.append(start)
        for number in range(start, len(pixels)):
            if number == fail_at:
                raise OSError("killed")
            yield pixels[number]

    shards.write_shards(folder, images_from, pixels.shape, per_shard, source)


@pytest.fixture
def folder(tmp_path, pixels):
    write(tmp_path / "shards", pixels)
    return tmp_path / "shards"


def batches(count=6, size=16):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, SHAPE[0], (size,), generator=generator) for _ in range(count)]


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_the_same_batch_bits_from_disk_and_from_memory(folder, pixels):
    mapped, resident = store.open_shards(folder), store.ResidentImages(torch.from_numpy(pixels))
    assert mapped.shape == resident.shape == SHAPE and len(mapped) == len(resident) == 50
    # out of order, repeated, across shards, and empty
    for index in [*batches(), torch.tensor([49, 0, 49, 7, 6]), torch.tensor([], dtype=torch.int64)]:
        assert torch.equal(mapped[index], resident[index])
        assert torch.equal(mapped[index], torch.from_numpy(pixels[index.numpy()]))
    views = torch.tensor([0, 149, 3, 77, 77])
    assert torch.equal(mapped.merged()[views], resident.merged()[views])
    assert torch.equal(mapped.merged()[views], torch.from_numpy(pixels.reshape(150, 2, 8, 8)[views.numpy()]))


def test_prefetched_batches_are_those_of_indexing(folder, pixels):
    expected = [torch.from_numpy(pixels[index.numpy()]) for index in batches()]
    for images in (store.open_shards(folder), store.ResidentImages(torch.from_numpy(pixels))):
        got = list(images.prefetch(iter(batches()), CPU))
        assert len(got) == 6 and all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    # images that live on another device than the batches are read ahead too
    meta = list(store.ResidentImages(torch.from_numpy(pixels)).prefetch(batches(), torch.device("meta")))
    assert [batch.device.type for batch in meta] == ["meta"] * 6
    assert not prefetch_threads()


def test_prefetch_reads_ahead_of_use_and_no_further(folder):
    drawn = []

    def indices():
        for index in batches(20):
            drawn.append(index)
            yield index

    stream = store.open_shards(folder).prefetch(indices(), CPU)
    next(stream)
    deadline = time.monotonic() + 60  # a thread may wait for its turn
    while len(drawn) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(drawn) == 4  # one used, two waiting, one in the thread's hands
    assert len(prefetch_threads()) == 1
    stream.close()
    assert not prefetch_threads()


def test_the_thread_ends_when_the_consumer_leaves_the_loop_or_fails(folder):
    images = store.open_shards(folder)

    def consume(action):
        for _ in images.prefetch(batches(20), CPU):
            action()

    class Stop(Exception):
        pass

    def stop():
        raise Stop

    with pytest.raises(Stop):
        consume(stop)
    for _ in images.prefetch(batches(20), CPU):
        break
    deadline = time.monotonic() + 60
    while prefetch_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not prefetch_threads()


def test_an_error_in_the_thread_reaches_the_consumer_after_the_good_batches(folder):
    images = store.open_shards(folder)
    good = batches(3)
    got = []
    with pytest.raises(IndexError, match="leaves the 50 images"):
        for batch in images.prefetch([*good, torch.tensor([50])], CPU):
            got.append(batch)
    assert len(got) == 3

    def breaking():
        yield good[0]
        raise RuntimeError("no more indices")

    with pytest.raises(RuntimeError, match="no more indices"):
        list(images.prefetch(breaking(), CPU))
    assert not prefetch_threads()


@pytest.mark.parametrize(
    "wrong, error", [([-1], IndexError), ([50], IndexError), ([[1]], TypeError), ([0.5], TypeError)]
)
def test_a_wrong_index_is_refused_by_both(folder, pixels, wrong, error):
    for images in (store.open_shards(folder), store.ResidentImages(torch.from_numpy(pixels))):
        with pytest.raises(error):
            images[torch.tensor(wrong)]


def test_place_keeps_to_the_budget(folder, pixels):
    mapped, tensor, size = store.open_shards(folder), torch.from_numpy(pixels), pixels.size
    index = batches()[0]
    for images in (mapped, tensor):
        placed = store.place(images, CPU, size)
        assert isinstance(placed, store.ResidentImages)
        assert torch.equal(placed[index], tensor[index])
    assert store.place(mapped, CPU, size - 1) is mapped
    # a tensor beyond the device's budget stays where it is
    assert store.place(tensor, torch.device("meta"), size - 1).device == CPU
    assert store.place(tensor, torch.device("meta"), size).device.type == "meta"


def test_writing_continues_after_a_kill_and_gives_the_same_files(tmp_path, pixels, folder):
    started = []
    with pytest.raises(OSError, match="killed"):
        write(tmp_path / "resumed", pixels, fail_at=24, started=started)
    assert not shards.is_complete(tmp_path / "resumed")
    with pytest.raises(UsageError, match="incomplete, 29 of 50"):
        store.open_shards(tmp_path / "resumed")
    write(tmp_path / "resumed", pixels, started=started)
    assert started == [0, 21]  # three shards of seven were kept
    assert shards.is_complete(tmp_path / "resumed")
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in (tmp_path / "resumed").iterdir())
    assert all((folder / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes() for name in names)
    write(tmp_path / "resumed", pixels, started=started)
    assert started == [0, 21]  # nothing left to do: the images are not even asked for


def test_another_source_shape_or_shard_size_starts_again(tmp_path, pixels):
    started = []
    write(tmp_path, pixels, source="a", started=started)
    assert shards.is_complete(tmp_path, "a") and not shards.is_complete(tmp_path, "b")
    write(tmp_path, pixels[::-1], source="b", started=started)
    assert torch.equal(store.open_shards(tmp_path)[torch.tensor([0])], torch.from_numpy(pixels[-1:].copy()))
    write(tmp_path, pixels[:20], source="b", started=started)
    write(tmp_path, pixels[:20], per_shard=20, source="b", started=started)
    assert started == [0, 0, 0, 0]
    assert sorted(path.name for path in tmp_path.glob("shard*")) == ["shard_00000.npy"]


def test_one_image_is_held_at_a_time(tmp_path):
    alive = []

    class Counted(np.ndarray):
        def __del__(self):
            alive.append(-1)

    most = []

    def images_from(start):
        for number in range(start, 64):
            image = np.full((3, 16, 16), number, dtype=np.uint8).view(Counted)
            alive.append(1)
            most.append(sum(alive))
            yield image

    shards.write_shards(tmp_path, images_from, (64, 3, 16, 16), 32)
    assert max(most) <= 4
    assert torch.equal(store.open_shards(tmp_path)[torch.arange(64)][:, 0, 0, 0], torch.arange(64, dtype=torch.uint8))


def test_wrong_images_are_refused(tmp_path, pixels):
    with pytest.raises(ValueError, match="end before number 40"):
        shards.write_shards(tmp_path / "a", lambda start: iter(pixels[start:40]), pixels.shape, 7)
    with pytest.raises(ValueError, match="more images follow"):
        shards.write_shards(tmp_path / "b", lambda start: iter(pixels[start:]), (40, *SHAPE[1:]), 7)
    with pytest.raises(ValueError, match="image 0 is float64"):
        shards.write_shards(tmp_path / "c", lambda start: iter(pixels[start:] / 2), pixels.shape, 7)
    with pytest.raises(ValueError, match="images_per_shard = 0"):
        write(tmp_path / "d", pixels, per_shard=0)


def test_what_is_wrong_with_a_folder_is_said(folder, tmp_path, pixels):
    shard, manifest = folder / "shard_00002.npy", folder / "manifest.json"
    good, listed = shard.read_bytes(), manifest.read_text()
    shards.verify_shards(folder)
    shard.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    store.open_shards(folder)  # contents are not read here
    with pytest.raises(UsageError, match="shard_00002.npy has changed"):
        shards.verify_shards(folder)
    shard.write_bytes(good[:-1])
    with pytest.raises(UsageError, match="shard_00002.npy has .* bytes instead of"):
        store.open_shards(folder)
    shard.write_bytes(good.replace(b"|u1", b"|i1"))
    with pytest.raises(UsageError, match="shard_00002.npy holds int8"):
        store.open_shards(folder)
    shard.write_bytes(b"\0" * len(good))
    with pytest.raises(UsageError, match="shard_00002.npy is damaged"):
        store.open_shards(folder)
    shard.unlink()
    with pytest.raises(UsageError, match="shard_00002.npy is missing"):
        store.open_shards(folder)
    manifest.write_text(json.dumps({**json.loads(listed), "version": 99}))
    with pytest.raises(UsageError, match="version 99"):
        store.open_shards(folder)
    manifest.write_text(listed[:50])
    for place in (folder, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="no readable manifest"):
            store.open_shards(place)
    # a shard that is missing or damaged is written again, and those after it
    manifest.write_text(listed)
    started = []
    write(folder, pixels, started=started)
    assert started == [14] and shard.read_bytes() == good


def test_two_writers_do_the_work_once(tmp_path, pixels):
    started = []
    options = {"args": (tmp_path / "both", pixels), "kwargs": {"started": started}}
    writers = [threading.Thread(target=write, **options) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert started == [0]
    shards.verify_shards(tmp_path / "both")


def test_batches_for_cuda_pass_through_pinned_memory_and_are_not_waited_for(folder, pixels, monkeypatch):
    """On a machine without one: the calls that a CUDA device would get; what they do there is tested below."""
    cuda, pinned, copies = torch.device("cuda", 0), [], []

    def pin(tensor):
        pinned.append(tensor)
        return tensor

    def to(tensor, device, non_blocking=False):
        if device == cuda:  # an index goes to where the images are
            copies.append((any(tensor is one for one in pinned), non_blocking))
        return tensor

    monkeypatch.setattr(store, "_exact", lambda device: device)  # it asks the device
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", to)
    for images in (store.open_shards(folder), store.ResidentImages(torch.from_numpy(pixels))):
        pinned.clear(), copies.clear()
        got = list(images.prefetch(batches(), cuda))
        assert copies == [(True, True)] * 6
        assert all(
            torch.equal(batch, torch.from_numpy(pixels[index.numpy()]))
            for batch, index in zip(got, batches(), strict=True)
        )
    pinned.clear()
    list(store.open_shards(folder).prefetch(batches(), CPU))
    assert pinned == []  # pinned memory is scarce: only for CUDA


@pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="pinned copies to a device: needs CUDA, run by make gpu; the calls are tested above",
)
def test_batches_arrive_on_cuda_with_the_same_bits(folder, pixels):
    device = torch.device("cuda")
    for budget in (0, pixels.size):
        placed = store.place(store.open_shards(folder), device, budget)
        for batch, index in zip(placed.prefetch(batches(50), device), batches(50), strict=True):
            assert batch.device.type == "cuda"
            assert torch.equal(batch.cpu(), torch.from_numpy(pixels[index.numpy()]))
