"""What a replay memory keeps, and that what it gives back are the bits that were seen."""

import numpy as np
import pytest
import torch
from oracles import Case, within_errors
from stream import stream

from trainer.config.stream import ReplayConfig
from trainer.data.images import load_images
from trainer.data.poses import Poses
from trainer.data.sources.memory import Items, Memory
from trainer.families import seq_jepa


def items(first, count, size=1):
    """Items that carry their number in every part."""
    number = torch.arange(first, first + count)
    images = (number % 256).to(torch.uint8)[:, None, None, None, None].expand(count, 1, 1, size, size)
    pose = number[:, None].float().expand(count, 4)
    return Items(number, images.clone(), Poses(pose, pose[..., None].expand(count, 4, 2), pose))


def filled(kind, capacity, stream_of, seed=0, batch=7, segments=1):
    memory = Memory(ReplayConfig(kind=kind, capacity=capacity), segments, seed)
    for first in range(0, stream_of, batch):
        memory.add(items(first, min(batch, stream_of - first)), first * segments // stream_of)
    return memory


def kept(memory):
    return sorted(memory._kept["index"][memory._filled(torch.arange(len(memory)))].tolist())


@pytest.mark.oracle
def test_every_item_of_a_stream_is_in_a_reservoir_equally_often():
    """Frequencies over many runs against the reference's probabilities, within 4.5 standard errors of each."""
    runs, capacity, length = 600, 5, 20
    found, pairs = torch.zeros(length), 0
    for seed in range(runs):
        inside = kept(filled("reservoir", capacity, length, seed, batch=5))
        assert len(inside) == len(set(inside)) == capacity
        found[inside] += 1
        pairs += {3, 11} <= set(inside)
    case = Case("continual", "reservoir")
    counts = np.append(found.numpy(), pairs)
    chances = np.append(case.outputs["p_in_final"].numpy(), float(case.outputs["p_pair_in_final"]))
    within_errors(case.piece, counts / runs, chances, (chances * (1 - chances) / runs) ** 0.5, 4.5, "frequencies")


def test_a_fifo_holds_the_latest_and_a_ring_an_equal_share_of_every_segment():
    assert kept(filled("fifo", 6, 40)) == list(range(34, 40))
    assert kept(filled("fifo", 60, 40)) == list(range(40))
    # 4 segments of 10 items; 2 places each, the last ones seen in them; the places left over stay empty
    ring = filled("ring", 9, 40, batch=5, segments=4)
    assert kept(ring) == [8, 9, 18, 19, 28, 29, 38, 39] and len(ring) == 8
    drawn = ring.draw(4000, 3).index.bincount(minlength=40)
    assert set(drawn.nonzero().flatten().tolist()) == set(kept(ring)) and drawn[drawn > 0].min() > 400


@pytest.mark.parametrize("kind", ["reservoir", "fifo", "ring"])
def test_a_restored_memory_goes_on_as_the_one_it_was_saved_from(kind):
    memory = filled(kind, 6, 21, segments=3)
    other = Memory(ReplayConfig(kind=kind, capacity=6), 3, 0)
    other.load_state_dict(memory.state_dict(), Poses)
    for one in (memory, other):
        one.add(items(21, 9), 2)
    first, second = (one.draw(50, 7) for one in (memory, other))
    assert torch.equal(first.index, second.index) and torch.equal(first.images, second.images)
    assert torch.equal(first.parameters.shift, second.parameters.shift)
    assert not torch.equal(first.index, memory.draw(50, 8).index)  # another step, another draw
    with pytest.raises(ValueError, match="not one of 7 items of 3 segments"):
        Memory(ReplayConfig(kind=kind, capacity=7), 3, 0).load_state_dict(memory.state_dict(), Poses)


def test_memory_is_taken_at_once_and_never_grows():
    memory = Memory(ReplayConfig(capacity=50_000), 1, 0)
    batch = items(0, 16, size=32)
    memory.add(batch, 0)
    # an index, a grey image, and four views of angle, shift and scale
    assert memory.bytes == 50_000 * (8 + 32 * 32 + 4 * 4 * 4)
    for first in range(16, 2000, 16):
        memory.add(items(first, 16, size=32), 0)
    assert memory.bytes == 50_000 * (8 + 32 * 32 + 4 * 4 * 4) and len(memory) == 2000


@pytest.mark.parametrize(
    "words",
    [
        ["data.transform=rotation"],
        ["data.transform=affine"],
        ["data.stream.kind=appearance", "schedule.horizon_epochs=4"],
        ["data.name=mini3d", "data.transform=object", "data.stream.segments=5"],
        ["data.name=cifar10", "data.transform=augment", "data.generated=true"],
        ["data.name=stl10", "data.transform=glimpse", "data.generated=true", "data.unlabelled=0"],
    ],
)
def test_a_replayed_sequence_is_rendered_to_the_same_bits(words):
    """Every row of the memory, against the batch it came in."""
    reset = ["data.canvas=null", "data.content=null", "optim.batch_size=4", "data.sizes=[40,20,20]"]
    run = stream("data.stream.replay={kind: fifo, capacity: 64}", *reset, *words, epochs=2)
    source = seq_jepa.source(run, load_images(run), torch.float32)
    shown, replayed = {}, 0
    for _ in range(6):
        batch = source.next()
        views = torch.stack([*batch["observed"], *batch["target"]], 1)
        for row, index in enumerate(batch["index"].tolist()):
            one = views[row], batch["actions"][row], batch["poses"][row]
            if row < 4:
                shown.setdefault(index, []).append(one)
                continue
            replayed += 1
            assert any(all(torch.equal(a, b) for a, b in zip(one, before, strict=True)) for before in shown[index])
            assert batch["labels"][row] == -1
    assert replayed == 20


def test_new_rows_are_those_of_a_run_without_memory():
    plain, with_memory = stream(), stream("data.stream.replay={capacity: 8, ratio: 0.75}")
    one, other = (seq_jepa.source(run, load_images(run), torch.float32) for run in (plain, with_memory))
    for _ in range(4):
        a, b = one.next(), other.next()
        assert torch.equal(a["observed"][1], b["observed"][1][:8]) and torch.equal(a["actions"], b["actions"][:8])
    assert len(b["actions"]) == 32 and b["new"] == slice(0, 8)


@pytest.mark.parametrize(("into", "expected"), [("both", (1, 1)), ("prediction", (1, 0)), ("rate", (0, 1))])
def test_replayed_rows_take_part_in_what_they_are_replayed_into(into, expected):
    """Replayed images that are changed move the terms they are in, and no other."""
    run = stream(f"data.stream.replay={{capacity: 8, into: {into}}}", "model.norm=group")
    source = seq_jepa.source(run, load_images(run), torch.float32)
    method = seq_jepa.make(run, source)
    source.next()
    batch = source.next()
    before = method(batch).terms
    for name in ("observed", "target"):
        batch[name] = [torch.cat([view[:8], 1 - view[8:]]) for view in batch[name]]
    after = method(batch).terms
    assert tuple(int(bool(after[name] != before[name])) for name in ("predict", "rate")) == expected


@pytest.mark.parametrize("order", ["segments", "cumulative"])
def test_images_that_are_read_ahead_give_the_same_stream_to_its_last_batch(order):
    """More than ``runtime.resident_mib`` takes: they stay in mapped files."""
    words = ["data.name=cifar10", "data.transform=augment", "data.generated=true", "data.sizes=[100,20,20]"]
    words += ["data.canvas=null", "data.content=null", f"data.stream.order={order}"]
    if order == "segments":
        words.append("data.stream.replay={capacity: 8}")
    found = []
    for mib in (8192, 1):
        run = stream(*words, f"runtime.resident_mib={mib}")
        source = seq_jepa.source(run, load_images(run), torch.float32)
        # made ones differ by how many there are, what is chosen of them does not
        found.append([source.next()["index"] for _ in range(run.epochs * run.steps_per_epoch)])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_images_may_be_kept_elsewhere_than_what_is_computed_with():
    memory, number = Memory(ReplayConfig(kind="fifo", capacity=4), 1, 0), torch.empty(6, dtype=torch.int64)
    memory.add(Items(number.to("meta"), torch.arange(6, dtype=torch.uint8)[:, None], number.to("meta")), 0)
    assert memory._kept["images"][:, 0].tolist() == [4, 5, 2, 3]
