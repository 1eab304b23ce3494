"""What a run's numbers are of: which rows a probe is fitted on, which it is scored on, which epochs a report may
know."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import config, method, views, whole

from trainer.data.images import load_images
from trainer.families.seq_jepa.probing.features import Harvest, extract
from trainer.families.seq_jepa.probing.health import Health
from trainer.families.seq_jepa.probing.online import OnlineProbe
from trainer.method import evaluating
from trainer.probes.ranks import effective_ranks
from trainer.probes.regression import mlp_prediction
from trainer.probes.ridge import Ridge
from trainer.record.writer import summarise


@pytest.fixture(scope="module")
def measured():
    """A model's probe metrics, and what it makes of the same train and held-out sequences in one pass each."""
    run = config("data.sizes=[300,90,100]")
    images = load_images(run)
    # labels that say nothing of the images
    images.labels.copy_(images.labels[torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(0))])
    source, model = views(run, images), method(run)
    for _ in range(3):
        model(source.next())  # running statistics that are those of no single batch
    health = Health(run, images, source)
    metrics = health.probe(model, full=False)
    found = {}
    with evaluating(model), torch.no_grad():
        for part, draws in (("train", 2), ("validation", 4)):
            batch = whole(source.fixed(part, draws))
            z, actions = model.encode(batch["observed"]), model.action(batch["actions"])
            z_agg = model.aggregator(z, actions[:, :-1])
            distance = 1 - F.cosine_similarity(model.predict(z_agg, actions[:, -1]), model.target(batch["target"][0]))
            found[part] = {"z": z, "z_agg": z_agg, "labels": batch["labels"], "distance": distance}
    return run, images, source, model, metrics, found


def test_accuracies_are_fitted_on_train_and_scored_on_validation(measured):
    *_, metrics, found = measured
    train, held = found["train"], found["validation"]
    for name, of in (
        ("z_agg@3", lambda p: p["z_agg"]),
        ("z_1@1", lambda p: p["z"][:, 0]),
        ("z_mean@3", lambda p: p["z"].mean(1)),
    ):
        ridge = Ridge(of(train), train["labels"], 10)
        assert metrics[f"linacc/{name}"] == pytest.approx(ridge.accuracy(of(held), held["labels"]), abs=0.3)
        # only a probe that has seen the held-out rows does well on them
        assert metrics[f"linacc/{name}"] + 3 < Ridge(of(held), held["labels"], 10).accuracy(of(held), held["labels"])


def test_ranks_are_of_all_observed_views_and_losses_of_all_sequences_alike(measured):
    *_, metrics, found = measured
    held = found["validation"]
    for kind, rank in effective_ranks(held["z"].flatten(0, 1)).items():
        assert metrics[f"{kind}/z@3"] == pytest.approx(rank, rel=1e-4)
        assert abs(rank / effective_ranks(held["z"][:, 0])[kind] - 1) > 1e-3
    assert metrics["predict/z_hat@3"] == pytest.approx(float(held["distance"].mean()), rel=1e-4)


@pytest.mark.parametrize("chunk", [256, 100, 7])
def test_the_mean_loss_does_not_depend_on_how_the_rows_are_cut(measured, chunk):
    """The last chunk is shorter than the others and counts for less."""
    _, _, source, model, _, found = measured
    with evaluating(model):
        loss = extract(model, source.fixed("validation", 4), chunk, loss=True).loss
    assert loss == pytest.approx(float(found["validation"]["distance"].mean()), rel=1e-4)


def test_the_untrained_encoders_statistics_are_the_mean_over_all_train_batches(measured, monkeypatch):
    run, images, source, model, *_ = measured
    health = Health(run, images, source)
    sequences = list(health._train.limited(4096).batches(100))
    monkeypatch.setattr(
        health._train, "limited", lambda most: type("Cut", (), {"batches": lambda self, size: iter(sequences)})()
    )
    fresh = health.untrained(model)
    assert len(sequences) > 3
    convolution, norm = fresh.encoder.body[0], fresh.encoder.body[1]
    with torch.no_grad():
        means = [convolution(torch.cat(batch["observed"])).mean((0, 2, 3)) for batch in sequences]
    assert torch.allclose(norm.running_mean, torch.stack(means).mean(0), atol=1e-5)
    assert not torch.allclose(norm.running_mean, means[-1], atol=1e-5)
    # whoever measures it uses these, also after others did: what it makes of a view does not depend on the views beside
    view = sequences[0]["observed"][0]
    for _ in range(2):
        with torch.no_grad():
            assert torch.allclose(fresh.encode([view[:1]]), fresh.encode([view])[:1], atol=1e-5)
        health.probe(fresh, full=False)


def test_a_regressor_knows_nothing_of_the_rows_it_is_asked_about():
    """What it says of one row is the same whatever other rows are asked with it."""
    numbers = torch.Generator().manual_seed(0)
    x, asked = torch.randn(300, 5, generator=numbers), torch.randn(40, 5, generator=numbers)
    y = x[:, :2] * x[:, 1:3]
    together = mlp_prediction(x, y, asked)
    far = torch.cat([asked[:1], 100 + asked[1:]])
    assert torch.allclose(mlp_prediction(x, y, asked[:1]), together[:1], atol=1e-5)
    assert torch.allclose(mlp_prediction(x, y, far)[:1], together[:1], atol=1e-5)


def test_the_harvest_holds_the_latest_labelled_rows():
    harvest = Harvest()
    size = Harvest.LIMIT // 4
    for number in range(7):
        labels = torch.arange(size) % 3 - 1  # a third unlabelled
        harvest.add(
            {"z": torch.full((size, 2, 3), float(number)), "z_agg": torch.full((size, 4), float(number))}, labels
        )
    (z_agg, *_), labels = harvest.take()
    assert z_agg[:, 0].unique().tolist() == [3.0, 4.0, 5.0, 6.0] and (labels >= 0).all()
    assert len(z_agg) == len(labels) == 4 * int((torch.arange(size) % 3 > 0).sum())


def test_images_without_a_label_do_not_slow_the_probe_beside_the_model():
    """A batch in which most labels are unknown moves the classifier as the known rows alone do."""
    numbers = torch.Generator().manual_seed(0)
    z_agg, labels = torch.randn(64, 6, generator=numbers), torch.arange(64) % 4
    mixed = torch.where(torch.arange(64) < 8, labels, -1)
    gradients = []
    for rows, known in ((slice(None), mixed), (slice(0, 8), labels[:8])):
        probe = OnlineProbe(6, 4, torch.device("cpu"))
        probe.observe({"z_agg": z_agg[rows], "z": z_agg[rows, None]}, known, torch.zeros(len(known), 1, 1))
        gradients.append(probe.linear.weight.grad.clone())
    assert torch.allclose(gradients[0], gradients[1], atol=1e-7)


def test_a_report_of_an_epoch_knows_nothing_later():
    """After a kill, epochs are reported again from the record: as they were then, not as they are now."""
    run = config()
    lines = [
        {"epoch": epoch, "probe_epoch": max(p for p in (0, 3, 9) if p <= epoch),
            "metrics": {"rank_pr/z@3": float(epoch)}
         | ({"linacc/z_agg@3": 40.0 + epoch} if epoch in (0, 3, 9) else {})}
        for epoch in range(11)
    ]  # fmt: skip
    for epoch in range(11):
        now, then = summarise(lines, epoch, run), summarise(lines[: epoch + 1], epoch, run)
        assert now == then
        probed = max(p for p in (0, 3, 9) if p <= epoch)
        assert (now["epoch"], now["probe_epoch"], now["score"], now["rank_pr/z@3"]) == (
            epoch,
            probed,
            40.0 + probed,
            epoch,
        )
    assert np.isfinite(now["score"])
