"""An encoder, an aggregator or a regulariser is a class with the face of its kind and one line of a table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small import config, method, views
from torch import nn

from trainer.blocks.faces import Aggregator, Encoder, make_encoder
from trainer.blocks.patches import PatchEncoder
from trainer.command.duration import estimate, work
from trainer.config import AGGREGATORS, ENCODERS, REGULARISERS, parts
from trainer.errors import UsageError
from trainer.losses.term import Regularising, Term, regularise
from trainer.method import Method
from trainer.step import make_optimiser, optimise

HERE = Path(__file__).resolve().parent


class Patches(Encoder):
    """Four patches, each by one linear map."""

    def __init__(self, settings, channels):
        super().__init__()
        self.features, self.map = 2 * settings.width, nn.LazyLinear(2 * settings.width)
        self.map(torch.zeros(1, channels * 6 * 6))

    def tokens(self, images):
        return self.map(nn.functional.unfold(images, 6, stride=6).transpose(1, 2)).relu()


class Averaged(Aggregator):
    """The mean code, at the scale of a matrix that is no matrix."""

    def __init__(self, model):
        super().__init__()
        self.width, self.scale = model.encoder.features, nn.Parameter(torch.ones(1, model.encoder.features))

    def forward(self, z, actions):
        return z.mean(1) * self.scale

    @property
    def no_decay(self):
        return (self.scale,)

    def health(self):
        return {"scale": self.scale.detach().mean()}


class Norm(Regularising):
    """The mean square."""

    def __init__(self, settings, seed):
        super().__init__()
        self.settings = settings

    def forward(self, rows, step=None):
        return Term(rows.square().mean(), {"mean_square": rows.detach().square().mean()})


class Forward(Method):
    def forward(self, batch):
        raise AssertionError("is never made")


@pytest.mark.parametrize(
    ("face", "lacking"),
    [
        (Encoder, "tokens"),
        (PatchEncoder, "tokens"),
        (Aggregator, "forward"),
        (Regularising, "forward"),
        (Forward, "parameter_groups"),
    ],
)
def test_a_part_without_its_face_cannot_be_made(face, lacking):
    class Lacking(face):
        def __init__(self):
            nn.Module.__init__(self)

    with pytest.raises(TypeError, match=f"abstract method '?{lacking}"):
        Lacking()


def test_an_encoder_of_patches(monkeypatch, digits):
    monkeypatch.setitem(ENCODERS, "patches", parts.Encoder("test_parts:Patches", growth=2))
    run = config("model.encoder={name: patches, width: 8}")
    model, batch = method(run), views(run, digits).next()
    assert work(run, 1, 1) is None and estimate(run, 1) is None  # nobody counted its arithmetic: no guess
    assert model.encoder.tokens(batch["observed"][0]).shape == (64, 4, 16)
    optimise(run, 0, model, model, make_optimiser(run, model), batch)
    with torch.no_grad():
        assert model.encode(batch["observed"]).shape == (64, 3, 16)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_table_says_how_many_blocks_can_be_trained_apart(name):
    settings = config(f"model.encoder={{name: {name}, width: 8}}").model.encoder
    made = make_encoder(settings, 1)
    assert settings.stages == (len(made.stages()) if hasattr(made, "stages") else None)


def test_an_aggregator_of_another_width(monkeypatch, digits):
    unread = "layers", "heads", "ffn_ratio", "dropout", "time_embedding"
    monkeypatch.setitem(AGGREGATORS, "averaged", parts.Aggregator("test_parts:Averaged", unread=unread))
    for name, value in zip(unread, (1, 3, 2.0, 0.1, "true"), strict=True):
        with pytest.raises(UsageError, match=f"{name} = .* (does nothing|has a meaning only)"):
            config("model.aggregator=averaged", f"model.{name}={value}")
    run = config("model.aggregator=averaged", "model.action_dim=7")
    model, batch = method(run), views(run, digits).next()
    output = model(batch)
    assert (
        output.features["z_agg"].shape == (64, 16)
        and float(output.health["scale/agg"]) == 1
        and "last_norm_gain/agg" not in output.health
    )
    assert any(p is model.aggregator.scale for p in model.parameter_groups()[1].params)
    before = model.aggregator.scale.detach().clone()
    optimise(run, 0, model, model, make_optimiser(run, model), batch)
    assert not torch.equal(model.aggregator.scale, before)


@pytest.mark.parametrize("setting", ["model.encoder.name", "model.aggregator"])
def test_a_name_of_no_table_is_refused_in_one_line(setting):
    names = {"model.encoder.name": ENCODERS, "model.aggregator": AGGREGATORS}[setting]
    with pytest.raises(UsageError, match=f"{setting}: 'swin' must be one of {', '.join(names)}$"):
        config(f"{setting}=swin")


def test_every_regulariser_of_the_table_has_settings_and_a_weight():
    from trainer.families.seq_jepa.config import ObjectiveConfig, Weights

    assert (
        REGULARISERS.keys() <= ObjectiveConfig.model_fields.keys()
        and REGULARISERS.keys() <= Weights.model_fields.keys()
    )


REGISTERED = """
import torch
from trainer.config.losses import REGULARISERS, Regulariser, VicRegConfig
REGULARISERS["norm"] = Regulariser(VicRegConfig, "test_parts:Norm")  # before a family's settings are made of the table
from small import config, method
run = config("objective.weights.norm=0.5", "objective.norm.on=z")
from trainer.families import seq_jepa
from trainer.data.images import load_images
from trainer.errors import UsageError
batch = seq_jepa.source(run, load_images(run), torch.float32).next()
output = method(run)(batch)
assert float(output.terms["norm"]) == float(output.health["mean_square/z"]) > 0 and run.objective.weights.norm == 0.5
one_row = "data.stream.segments=2 optim.batch_size=1 model.norm=group schedule.warmup_epochs=0".split()
one_row += ["schedule.horizon_epochs=2", "epochs=2"]
for words, why in ((one_row, "one row has no spread"), (["objective.local={stage: encoder}"], "no gradient of it")):
    try:
        config(*words, "objective.weights.rate=0", "objective.weights.norm=0.5", "objective.norm.on=z")
    except UsageError as refused:
        assert why in str(refused), refused
    else:
        raise AssertionError(words)
print("registered")
"""


def test_a_regulariser_is_one_line():
    environment = {**os.environ, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}"}
    done = subprocess.run([sys.executable, "-c", REGISTERED], env=environment, capture_output=True, text=True)
    assert done.stdout == "registered\n", done.stderr


def test_means_over_features_and_parts():
    class Value(Regularising):
        def forward(self, rows, step=None):
            return Term(rows.sum(), {"seen": rows.sum()})

    features = {"agg": [torch.tensor([[1.0]]), torch.tensor([[3.0]])], "z": [torch.tensor([[8.0]])]}
    value = Value()
    assert float(regularise(value, features, None).value) == 4.0
    value.by_feature = True
    term = regularise(value, features, None)
    assert float(term.value) == 5.0 and {name: float(one) for name, one in term.health.items()} == {
        "seen/agg": 2.0,
        "seen/z": 8.0,
    }
