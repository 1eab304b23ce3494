"""An arm's identity: scientific settings only, stable when fields are added."""

import os
import platform

import pytest
from pydantic import Field
from small import config

from studies.executors.environment import needed
from trainer import presets
from trainer.config import OptimConfig
from trainer.families.seq_jepa import Config
from trainer.record import identity

DIGITS, AT_A_TENTH = "f372a5dc9d", "f0b854710b"
"""The preset, and with the rate's weight that it had first: records hold both."""


def test_the_stored_identity_of_the_digits_preset():
    assert identity.arm_id(presets.load("digits")) == DIGITS
    assert identity.arm_id(presets.load("digits", ["objective.weights.rate=0.1"])) == AT_A_TENTH


@pytest.mark.parametrize(
    "change",
    [
        "epochs=5",
        "seed=3",
        "runtime.device=cpu",
        "runtime.threads=2",
        "runtime.checkpoint_every=7",
        "eval.probe_epochs=[2]",
        "gates={}",
    ],
)
def test_what_does_not_change_an_arm(change):
    assert identity.arm_id(config(change)) == identity.arm_id(config())


@pytest.mark.parametrize(
    "change",
    [
        "data.transform=affine", "data.observed_views=2", "data.anchor_first=true", "data.action_scale=none",
        "data.draws_per_epoch=2",
        "model.layers=1", "model.encoder.width=5", "objective.teacher=ema", "objective.weights.rate=0",
        "objective.rate.form=ln",
        "optim.lr=0.1", "optim.batch_size=32", "schedule.name=constant", "schedule.horizon_epochs=60", "precision=fp64",
    ],
)  # fmt: skip
def test_what_changes_an_arm(change):
    base = config("model.heads=1")
    assert identity.arm_id(config("model.heads=1", change)) != identity.arm_id(base)


def test_saying_a_default_aloud_changes_nothing():
    said = config("objective.teacher=ema", "objective.ema={half_life: 0.05}")
    assert identity.arm_id(said) == identity.arm_id(config("objective.teacher=ema"))


def test_a_new_field_at_its_legacy_value_keeps_old_identities():
    class Later(OptimConfig):
        nesterov: bool = Field(False, json_schema_extra={"legacy": False})

    class LaterRun(Config):
        optim: Later = Later()

    tree = config().model_dump()
    old, same = config(), LaterRun.model_validate(tree)
    assert identity.arm_id(same) == identity.arm_id(old)
    tree["optim"]["nesterov"] = True
    assert identity.arm_id(LaterRun.model_validate(tree)) != identity.arm_id(old)


def test_a_run_adds_the_seed():
    assert identity.run_id(config(seed=4)) == f"{identity.arm_id(config())}-s4"


def test_provenance_names_commit_and_versions():
    found = identity.provenance()
    assert found["versions"].keys() == {"torch", "numpy", "scikit-learn"}
    assert found["commit"] is None or len(found["commit"]) == 40


@pytest.mark.parametrize(
    ("facts", "widest"),
    [
        ("processor\t: 0\nflags\t\t: fpu sse avx avx2 avx512f\nbugs\t: none\nflags\t: fpu", "avx512f"),
        ("flags : fpu avx avx2", "avx2"),
        ("Features\t: fp asimd", "asimd"),
        ("model name : x", ""),
        (None, ""),
    ],
)
def test_provenance_tells_processors_apart_whose_kernels_round_otherwise(tmp_path, facts, widest):
    file = tmp_path / "cpuinfo"
    if facts is not None:
        file.write_text(facts)
    assert identity.processor(file) == f"{platform.machine()} {widest}".strip()
    assert identity.provenance()["processor"] == identity.processor()
    assert identity.provenance(card="Card 1")["processor"] == f"{identity.processor()}, Card 1"


@pytest.mark.parametrize("limit", identity.LIMITS)
def test_a_limit_on_the_libraries_kernels_reaches_the_trials_and_is_on_record(monkeypatch, limit):
    before = identity.processor()
    monkeypatch.setenv(limit, "AVX2")
    assert identity.processor() == f"{before} {limit}=AVX2"
    assert needed(os.environ)[limit] == "AVX2"
