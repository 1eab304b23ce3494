"""No chunk of rows ever holds a single one, whatever the number of images: batch statistics of one row do not exist."""

import gc
import weakref

import pytest
import torch
from small import SMALL

from trainer import presets
from trainer.__main__ import main
from trainer.blocks.norm import GlobalBatchNorm
from trainer.data.images import load_images
from trainer.data.row_chunks import joined_chunks, row_chunks
from trainer.data.views import FixedViews, Views
from trainer.families import h_jepa, seq_jepa
from trainer.families.h_jepa import measures
from trainer.families.seq_jepa.local import method as local
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.families.seq_jepa.probing import features, health, parts, suite
from trainer.families.seq_jepa.probing.diagnostics import Diagnostics
from trainer.families.seq_jepa.probing.features import Harvest
from trainer.families.seq_jepa.probing.health import Health
from trainer.families.seq_jepa.probing.online import OnlineProbe
from trainer.families.seq_jepa.probing.suite import Suite
from trainer.probes import neighbours, protocol, regression
from trainer.subspace import sweeps

SIZE = 8


@pytest.mark.parametrize("size", [2, 3, 8])
@pytest.mark.parametrize("count", range(2, 28))
def test_every_remainder(count, size):
    chunks = row_chunks(torch.arange(count), size)
    assert torch.equal(torch.cat(chunks), torch.arange(count))
    assert all(2 <= len(chunk) <= size + 1 for chunk in chunks)
    # numbers on record were measured in these chunks
    if count % size != 1:
        assert [len(chunk) for chunk in chunks] == [len(chunk) for chunk in torch.arange(count).split(size)]


def test_one_row_in_all_is_a_chunk_and_none_is_as_torch_has_it():
    assert [len(chunk) for chunk in row_chunks(torch.arange(1), 4)] == [1]
    assert [len(chunk) for chunk in row_chunks(torch.arange(0), 4)] == [0]
    with pytest.raises(ValueError, match="size = 1"):
        row_chunks(torch.arange(4), 1)


def test_chunks_are_put_together_in_their_order():
    columns = torch.arange(11), torch.randn(11, 2, 3).transpose(1, 2)
    joined = joined_chunks(zip(*(row_chunks(column, 4) for column in columns), strict=True), 11)
    assert all(torch.equal(*pair) and pair[0].is_contiguous() for pair in zip(joined, columns, strict=True))


@pytest.mark.parametrize(
    "made",
    [
        lambda method, fixed: features.extract(method, fixed, SIZE, loss=True, target_codes=True),
        lambda method, fixed: features.shorter(method, fixed, SIZE, [1, 2]),
        lambda _, fixed: features.pixel_features(fixed, SIZE),
    ],
    ids=["extract", "shorter", "pixels"],
)
def test_no_chunk_outlives_the_next(made, monkeypatch):
    """Small tensors that were kept between the large ones of each chunk took 4 GB of CIFAR-100's probes."""
    monkeypatch.setattr(FixedViews, "KEEP_BYTES", {"cpu": 0})
    config = presets.load("digits", [*SMALL, "data.sizes=[64,20,20]"])
    images = load_images(config)
    views = Views(config, images, torch.float32)
    method = SeqJEPA(config, 1, views.action_dim).eval()
    chunks, alive = [], []
    rendered = Views._batch

    def batch(*of):
        alive.append(sum(chunk() is not None for chunk in chunks))
        found = rendered(*of)
        chunks.extend(weakref.ref(found[name]) for name in ("labels", "factors", "poses"))
        return found

    def aggregated(module, _, output):
        chunks.append(weakref.ref(output))

    monkeypatch.setattr(Views, "_batch", batch)
    method.aggregator.register_forward_hook(aggregated)
    made(method, views.fixed("train"))
    # the chunk before is still at hand while the next one is rendered
    assert len(alive) == 8 and max(alive) <= 5


def of_h_jepa(monkeypatch):
    """What joins its chunks, and where they come from."""
    monkeypatch.setattr(measures, "CHUNK", SIZE)
    run = presets.load("h_jepa_digits", ["data.sizes=[64,16,16]", "optim.batch_size=8"])
    images = load_images(run)
    source = h_jepa.source(run, images, torch.float32)
    method = h_jepa.make(run, source)
    probes = h_jepa.probes(run, images, source, method, torch.device("cpu"))
    return source, "fixed", lambda: probes._features(method, images.splits["train"])


def of_a_frozen_encoder(monkeypatch):
    monkeypatch.setattr(local, "KEPT", SIZE)
    words = [
        "objective.local={stage: aggregator, warm_epochs: 1, cached: true}",
        "model.norm=group",
        "data.sizes=[64,16,16]",
    ]
    run = presets.load("digits", [*SMALL, *words])
    source = seq_jepa.source(run, load_images(run), torch.float32)
    method = seq_jepa.make(run, source)
    return source, "again", lambda: method._looked_up({"draw": torch.arange(SIZE)})


@pytest.mark.parametrize("made", [of_h_jepa, of_a_frozen_encoder])
def test_chunks_of_other_families_are_not_collected_either(made, monkeypatch):
    """Tensors of a chunk's rows, of which there are as many while the last chunk is made as while the third is."""
    source, name, join = made(monkeypatch)
    rendered, living = getattr(source, name), []

    def chunks(*arguments):
        for chunk in rendered(*arguments):
            living.append(sum(type(one) is torch.Tensor and one.shape[:1] == (SIZE,) for one in gc.get_objects()))
            yield chunk

    monkeypatch.setattr(source, name, chunks)
    join()
    assert len(living) == 8 and living[-1] <= living[2]


FEW = 4
"""Rows of a chunk where every remainder of it is gone through."""


@pytest.mark.parametrize("count", range(3 * FEW, 4 * FEW))
def test_no_probe_meets_a_batch_of_one(count, monkeypatch):
    """Start-up, live and frozen probes, evaluation and sweeps, in batch statistics, over every remainder of the
    chunk."""
    monkeypatch.setattr(regression, "STEPS", 2)  # all of them on the same rows
    for module in (health, parts, suite, neighbours):
        monkeypatch.setattr(module, "CHUNK", FEW)
    monkeypatch.setattr(sweeps, "ANCHORS_AT_ONCE", FEW)
    monkeypatch.setattr(protocol, "BATCH", FEW)
    extract, aggregate = features.extract, features.aggregate
    monkeypatch.setattr(health, "extract", lambda method, fixed, chunk, **how: extract(method, fixed, FEW, **how))
    # odd: of an even number of draws per image a single sequence is never left over otherwise
    monkeypatch.setattr(parts, "aggregate", lambda method, z, actions: aggregate(method, z, actions, FEW - 1))
    calibrated = FixedInChunks(monkeypatch)
    words = [
        *SMALL,
        f"data.sizes=[{count},{count},{count}]",
        f"optim.batch_size={FEW}",
        "eval.probe_bn=train",
        "eval.action_probe=true",
    ]
    words.append(f"eval.subspace={{epochs: [1], anchors: {count}, steps: 8}}")
    config = presets.load("digits", words)
    images = load_images(config)
    views = Views(config, images, torch.float32)
    torch.manual_seed(0)
    method = SeqJEPA(config, 1, views.action_dim)
    seen = Rows(method)
    probes = Health(config, images, views)
    calibrated.on = True
    untrained = probes.untrained(method)
    calibrated.on = False
    online = OnlineProbe(method.aggregator.width, 10, torch.device("cpu"), (2 * method.encoder.features, 2))
    harvest, batch = Harvest(), views.next()
    harvest.add(method(batch).features, batch["labels"])
    probes.live(method, harvest, online)
    probes.probe(method)
    probes.pixels()
    Suite(
        config, images, views, "validation", (1, 2, 4), paper=True, ridge=True, epochs=1, say=lambda text: None
    ).measure(method, untrained, online)
    Diagnostics(config, images, views, untrained, "validation").measure(method)
    assert min(seen.rows) >= 2 and len(seen.rows) > 100
    assert max(seen.sequences) <= FEW + 1


class FixedInChunks:
    """While on, the start-up statistics are taken in chunks of FEW: their own size depends on the number of pixels."""

    def __init__(self, monkeypatch):
        from trainer.data.views import FixedViews

        self.on, original = False, FixedViews.batches
        monkeypatch.setattr(FixedViews, "batches", lambda fixed, size: original(fixed, FEW if self.on else size))


class Rows:
    """Rows that any batch-norm of a model, or of a copy of it, was given, and its aggregator, which may get one."""

    def __init__(self, method):
        self.rows, self.sequences = [], []
        for module in method.modules():
            if isinstance(module, GlobalBatchNorm):
                module.register_forward_pre_hook(lambda norm, inputs: self.rows.append(len(inputs[0])))
        method.aggregator.register_forward_pre_hook(lambda module, inputs: self.rows.append(len(inputs[0])))
        method.predictor.register_forward_pre_hook(lambda module, inputs: self.sequences.append(len(inputs[0])))

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize("images", [342])
def test_a_preset_with_one_image_left_over_runs(images, tmp_path, capsys, monkeypatch):
    """342 images of 32 x 32 in chunks of 341, which every CIFAR preset of the published size came to."""
    monkeypatch.setattr(regression, "STEPS", 2)
    words = [
        "data.generated=true",
        "model.encoder={name: conv, width: 4}",  # normalised over the chunk like any other
        "model.predictor_hidden=64",
        f"data.sizes=[{images},64,64]",
        "optim.batch_size=64",
    ]
    command = [
        "--preset",
        "cifar100_aug_smoke",
        "--gate",
        "none",
        "--epochs",
        "1",
        "--results-dir",
        str(tmp_path),
        "--across-commits",
        *words,
    ]
    assert main(command) == 0, capsys.readouterr().err


@pytest.mark.parametrize("sizes", ["[1,64,64]", "[64,1,64]"])
def test_a_split_of_one_image_is_refused_where_it_would_be_probed(sizes, capsys):
    assert (
        main(
            [
                "--preset",
                "digits",
                f"data.sizes={sizes}",
                "data.pretrain_on=train_and_validation",
                "optim.batch_size=4",
                "--dry-run",
            ]
        )
        == 2
    )
    assert "at least 2" in capsys.readouterr().err
