"""Pre-training on several image sets by weight: what is drawn, what it is measured by, and what is refused."""

import dataclasses
import math
import random
import re
from pathlib import Path

import pytest
import torch
from test_h_jepa import MIXED, built, config
from test_h_jepa import MIXED_SIZES as SIZES

import trainer
from studies.doctor import inputs, machine
from studies.engine import metrics
from trainer import families, presets
from trainer.__main__ import main
from trainer.config import SETS, members
from trainer.data.images import load_images
from trainer.data.mixed import MixedImages
from trainer.data.shared import shared_images
from trainer.data.sources.mixture import Mixture
from trainer.data.store import MappedImages
from trainer.errors import UsageError
from trainer.loop import train
from trainer.record.identity import arm_id, run_id
from trainer.record.run import comparable, read

pytestmark = pytest.mark.usefixtures("few_steps")

WEIGHTS = {"digits": 0.6, "mnist": 0.3, "cifar10": 0.1}
EPOCH = 200


@pytest.fixture(scope="module")
def images():
    return load_images(config(*MIXED))


def drawn(run, images, epochs):
    """(epochs, draws) images as they are shown."""
    source = families.load("h_jepa").source(run, images, torch.float32)
    orders = [source._ordered(epoch) for epoch in range(epochs)]
    return torch.stack([source._index(order, epoch) for epoch, order in enumerate(orders)])


def of_set(images, index):
    return torch.bucketize(index, torch.tensor([one.stop for one in images.members.values()]), right=True)


def test_an_epoch_has_the_weights_and_its_order_is_random(images):
    shown = of_set(images, drawn(config(*MIXED), images, 200))
    assert shown.shape == (200, EPOCH)  # full batches only
    exact = torch.tensor([EPOCH * weight for weight in WEIGHTS.values()]).long()
    for epoch in shown:
        assert torch.equal(epoch.bincount(minlength=3), exact)
    # a fifth of every epoch is a sample without replacement: chi-square with its finite population's correction
    part = shown[:, :40].flatten().bincount(minlength=3).double()
    expected = 8000 * exact / EPOCH
    assert float(((part - expected) ** 2 / expected).sum()) / (1 - 40 / EPOCH) < 13.8  # 0.999 of two degrees
    together_with = (shown[:, 1:] == shown[:, :-1]).double().mean()
    assert abs(float(together_with) - 0.46) < 0.01  # 0.6^2 + 0.3^2 + 0.1^2


def test_no_image_of_a_set_comes_again_before_all_have(images):
    shown = drawn(config(*MIXED), images, 5).flatten()
    for number, (name, one) in enumerate(images.members.items()):
        own, pool = shown[of_set(images, shown) == number], one.splits["pretrain"]
        assert len(pool) == SIZES[name][0]
        turns = own.split(len(pool))
        assert len(turns) > 1 or name == "cifar10"
        for turn in turns:
            assert len(turn.unique()) == len(turn) and torch.isin(turn, pool).all()
        if len(turns) > 2:
            assert not torch.equal(turns[0], turns[1])  # each time in another order


def test_a_batch_is_a_function_of_seed_and_step_for_one_worker_or_two(images):
    family, run = families.load("h_jepa"), config(*MIXED, "data.standard.recipe=whole")

    def source(rank=0, world=1, seed=0):
        return family.source(run.model_copy(update={"seed": seed}), images, torch.float32, rank, world)

    plain, later, workers = source(), source(), [source(rank, 2) for rank in range(2)]
    first = [plain.next() for _ in range(27)]  # an epoch is 25 steps
    later.load_state_dict({"step": 20})  # in the middle of an epoch
    for step in range(20, 27):
        again = later.next()
        assert torch.equal(first[step]["index"], again["index"])
        assert torch.equal(first[step]["views"][0], again["views"][0])
    assert torch.equal(torch.cat([one["index"] for one in first[:25]]), drawn(run, images, 1)[0])
    torch.testing.assert_close(first[26]["views"][0], plain.whole(first[26]["index"]))  # of the second epoch
    for one in first:
        parts = [worker.next()["index"] for worker in workers]
        assert torch.equal(torch.stack(parts, 1).flatten(), one["index"])
    assert not torch.equal(first[0]["index"], first[25]["index"])
    assert not torch.equal(source(seed=1).next()["index"], first[0]["index"])


def test_nothing_stands_between_the_order_and_the_worker(images):
    """A trial of a study trains on what its own processes share, and no loader is there whose sampler could be
    replaced; test_h_jepa.py trains with two processes."""
    run = config(*MIXED)
    assert torch.equal(drawn(run, shared_images(run), 1), drawn(run, images, 1))
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(trainer.__file__).parent.rglob("*.py"))
    assert not re.search(r"DataLoader|prepare_data_loader|Sampler\(", sources)


def test_images_have_one_shape_and_each_sets_own_colours(images):
    assert images.images.shape == (1797 + 96 + 64, 3, 32, 32)
    assert images.images.bytes == 1797 * 64 + 96 * 784 + 64 * 3072
    run, (digits, _, cifar) = config(*MIXED, "data.canvas=32"), images.members.values()
    alone = {one.name: load_images(run.model_copy(update={"data": one})) for one in members(run.data)}
    whole = alone["cifar10"].images
    got = images.images[cifar.splits["test"]]
    assert torch.equal(got, whole[alone["cifar10"].splits["test"]])  # the largest is untouched
    grey = images.images[digits.splits["test"]]
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 0], grey[:, 2])
    small = torch.nn.functional.interpolate(
        alone["digits"].images[alone["digits"].splits["test"]].float(), size=32, mode="bicubic", antialias=True
    )
    assert float((grey[:, :1].float() - small.clamp(0, 255)).abs().max()) <= 1
    on_disk = MixedImages([MappedImages([alone[name].images.numpy()]) for name in alone])
    rows = torch.cat([one.splits["train"][:3] for one in images.members.values()])[torch.randperm(9)]
    assert on_disk.device is None and torch.equal(on_disk[rows], images.images[rows])
    placed = images.to(torch.device("cpu"), 1)
    assert isinstance(placed.images, MixedImages) and torch.equal(placed.images[rows], images.images[rows])
    source = families.load("h_jepa").source(run, dataclasses.replace(images, images=on_disk), torch.float32)
    plain = families.load("h_jepa").source(run, images, torch.float32)
    assert torch.equal(source.next()["views"][0], plain.next()["views"][0])
    for name, one in images.members.items():
        mean, std = (torch.tensor(row).view(-1, 1, 1) for row in SETS[name].statistics)
        pixels = images.images[one.splits["test"]].float() / 255
        torch.testing.assert_close(plain.whole(one.splits["test"]), ((pixels - mean) / std))


def test_each_set_is_measured_by_its_own_labels_and_the_run_by_one(images):
    run, source, method = built(*MIXED)
    family = families.load("h_jepa")
    probes = family.probes(run, images, source, method, torch.device("cpu"))
    found = probes.at_start(method, True)
    full = probes.after_epoch(method, 1, True, None)
    cheap = probes.after_epoch(method, 5, False, None)
    for name in WEIGHTS:
        assert {f"linacc.{name}/z_agg@1", f"knn20.{name}/z_agg@1", f"linacc.{name}/pixels@1"} <= found.keys()
        assert f"std_live.{name}/z_agg@1" in full and f"predict_live.{name}/z_hat@1" in cheap
    for name in ("linacc/z_agg@1", "knn20/z_agg@1", "predict/z_hat@1", "linacc/pixels@1"):
        assert found[name] == found[name.replace("/", ".digits/")]
        assert found[name] != found[name.replace("/", ".mnist/")]
    assert family.headline(run)["score"] == "linacc/z_agg@1"
    # what is said of a set is what a run on it alone would say of the same encoder
    for name in ("mnist", "cifar10"):
        alone = config(*MIXED, f"data.name={name}", f"data.sizes={list(SIZES[name])}", *_without_sizes(name))
        other = family.probes(alone, load_images(alone), source, method, torch.device("cpu")).at_start(method, True)
        for metric in ("linacc/z_agg@1", "knn20/z_agg@1", "std/z_agg@1", "linacc/pixels@1"):
            assert other[metric] == found[metric.replace("/", f".{name}/")]
    # labels of one set say nothing of another's: changing them changes its numbers only
    labels = images.labels.clone()
    rows = images.members["mnist"].splits["train"]
    labels[rows] = labels[rows].roll(5)
    changed = family.probes(run, dataclasses.replace(images, labels=labels), source, method, torch.device("cpu"))
    other = changed.at_start(method, True)
    assert {key for key in found if found[key] != other[key]} >= {"linacc.mnist/z_agg@1"}
    # a study may ask about each set of its mixture, and about no other
    for kind in ("linacc", "knn20"):
        assert metrics.metric(f"{kind}.mnist/z_agg@M").unit == "percent" and f"{kind}.mnist/z_agg@1" in found
        metrics.check_recorded([f"{kind}.mnist/z_agg@M"], config(*MIXED))
    for base, said in ((config(*MIXED), "mixes cifar10, digits, mnist"), (config(), "mixes no sets")):
        with pytest.raises(UsageError, match=f"of a mixture with stl10, and this study {said}"):
            metrics.check_recorded(["linacc.stl10/z_agg@M"], base)
    assert all(".mnist/" in key for key in found if found[key] != other[key])


def _without_sizes(name):
    """The mixture of MIXED for a run that is judged by another set."""
    sets = [f"{{name: {one}, weight: {w}{_sizes(one, name)}}}" for one, w in WEIGHTS.items()]
    return [f"data.mixture=[{', '.join(sets)}]"]


def _sizes(one, judged):
    return "" if one == judged else f", sizes: {list(SIZES[one])}"


def test_a_run_resumes_bit_for_bit_and_its_checkpoint_is_evaluated(tmp_path, capsys):
    long, short = config(*MIXED), config(*MIXED, epochs=1)
    assert train(long, tmp_path / "whole" / "single" / "runs")["stopped"] == "completed"
    train(short, tmp_path / "parts")
    train(long, tmp_path / "parts")
    lines = [list(read(path)) for path in sorted(tmp_path.rglob("records.jsonl"))]
    kept = [[_told(line) for line in one if line["event"] in ("epoch", "eval")] for one in lines]
    assert len(kept[0]) == 5 and kept[0] == kept[1]
    start = lines[0][0]
    of_sets = {one.name: load_images(long.model_copy(update={"data": one})).split_hash for one in members(long.data)}
    assert start["split_hashes"] == of_sets and start["split_hash"] not in of_sets.values()
    from trainer import evaluate

    run = tmp_path / "whole" / "single" / "runs" / run_id(long)
    assert evaluate.main(["--checkpoint", str(run), "--protocol", "ridge", "--split", "test"]) == 0
    said = capsys.readouterr().out
    assert all(f"features of whole images of {name}" in said for name in WEIGHTS)
    line = next(read(run / "evaluation.jsonl"))
    assert line["split_hashes"] == of_sets and math.isfinite(line["metrics"]["knn20.cifar10/untrained_z_agg@1"])


def _told(line):
    return comparable({name: value for name, value in line.items() if name != "config"})


def test_the_identity_is_that_of_sets_and_shares():
    plain = config(*MIXED)
    turned = MIXED[0].replace("name: digits, weight: 6", "name: digits, weight: 12")
    turned = turned.replace("weight: 3", "weight: 6").replace("weight: 1,", "weight: 2,")
    assert arm_id(config(turned, *MIXED[1:])) == arm_id(plain) == arm_id(presets.build(plain.model_dump(mode="json")))
    awkward = random.Random(0)
    for _ in range(50):  # what is on record is read as the same arm
        first, second = (awkward.uniform(1, 9) for _ in range(2))
        one = f"data.mixture=[{{name: digits, weight: {first}}}, {{name: mnist, weight: {second}}}]"
        run = config(one, *MIXED[1:])
        assert arm_id(presets.build(run.model_dump(mode="json"))) == arm_id(run)
    for other in (
        [MIXED[0].replace("weight: 3", "weight: 4"), *MIXED[1:]],
        [MIXED[0].replace("48, 24", "48, 25"), *MIXED[1:]],
        [MIXED[0], "data.epoch_images=204", MIXED[2]],
    ):
        assert arm_id(config(*other)) != arm_id(plain)
    assert len({arm_id(config(*MIXED, f"data.name={name}", "data.sizes=null", *_bare())) for name in WEIGHTS}) == 3


def _bare():
    return ["data.mixture=[{name: digits, weight: 6}, {name: mnist, weight: 3}, {name: cifar10, weight: 1}]"]


def test_a_mistake_is_one_line():
    def pair(first="name: digits, weight: 1", second="name: mnist, weight: 1"):
        return f"data.mixture=[{{{first}}}, {{{second}}}]"

    long = "data.epoch_images=1000"
    for words, said in (
        ([pair()], "a mixture has no length of its own"),
        ([long], "epoch_images = 1000 has a meaning only with data.mixture"),
        ([pair(second="name: mnst, weight: 1"), long], "data.mixture.1.name: 'mnst' must be one of digits, mn"),
        ([pair(second="name: mnist, weight: 0"), long], "data.mixture.1.weight = 0: input should be greater than 0"),
        ([pair(second="name: mnist, weigth: 1"), long], r"weigth: unknown key \(did you mean weight\?\)"),
        ([pair(second="name: digits, weight: 2"), long], "digits is named twice"),
        (["data.mixture=[{name: digits, weight: 1}]", long], "at least two sets"),
        ([pair("name: cifar10, weight: 1"), long], "name = 'digits' must be one of the mixture's sets, mnist, cifar10"),
        ([pair(second="name: mini3d, weight: 1"), long], "mini3d has 20 pictures of every object"),
        ([pair("name: digits, weight: 1e+308", "name: mnist, weight: 1e+308"), "data.epoch_images=9"], "exceed the 9"),
        ([pair(second="name: mnist, weight: 1e+308"), long], "draws none"),
        ([pair(second="name: mnist, weight: 1e-5"), long], "draws none of an epoch's 960 images"),
        ([pair(second="name: mnist, weight: 1, sizes: [60000, 1, 9]"), long], "must not exceed 60000"),
        ([pair(second="name: mnist, weight: 1, sizes: [1, 9, 9]"), long], "at least 2 train images"),
        ([pair(second="name: mnist, weight: 1, unlabelled: 5"), long], "unlabelled = 5: mnist has 0"),
        ([pair(first="name: digits, weight: 1, sizes: [9, 9, 9]"), long], "digits is data.name; give its sizes"),
        ([pair(), long, "data.draws_per_epoch=2"], "epoch is epoch_images long"),
        ([pair(), long, "optim.batch_size=2000"], "must not exceed the 1000 images per epoch"),
        (["data.mixture=digits", long], "data.mixture = 'digits'"),
    ):
        with pytest.raises(UsageError, match=said) as caught:
            presets.load("h_jepa_digits", words)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="views that actions relate .* family h_jepa takes"):
        presets.load("digits", [pair(), long])


def test_a_dry_run_names_the_set_whose_files_are_absent(tmp_path, capsys):
    words = ["--preset", "h_jepa_overnight_as_reported", "--dry-run", "--data-root", str(tmp_path)]
    (tmp_path / "stl10_binary").mkdir()
    (tmp_path / "cifar-10-batches-py").mkdir()
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "data absent, this run would not start: cifar100" in said and "epoch_images: 50000" in said
    mixed = config(*MIXED)
    assert inputs.data(mixed).line.endswith("digits needs no files; mnist needs no files; cifar10 needs no files")
    assert machine.image_bytes(mixed) == 128 * 64 + 96 * 784 + 64 * 3072
    run = presets.load("h_jepa_overnight_as_reported")
    assert run.steps_per_epoch == 1562 and {one.name: one.weight for one in run.data.mixture} == {
        "stl10": 0.5, "cifar100": 0.3, "cifar10": 0.2,
    }  # fmt: skip
    assert run.model.masks.context_scale == (1.0, 1.0) and run.optim.decay_on == "all"  # as the report's code did


def test_a_set_that_is_drawn_often_goes_through_many_turns(images):
    run = config(*MIXED).model_copy(update={"data": config(*MIXED).data.model_copy(update={"epoch_images": 4000})})
    mixture = Mixture(run, images)
    shown = mixture.images(3, torch.randperm(4000))
    counts = shown[of_set(images, shown) == 0].bincount(minlength=1797)[images.members["digits"].splits["pretrain"]]
    assert mixture.draws == 4000 and int(counts.max() - counts.min()) <= 1 and int(counts.sum()) == 2400
