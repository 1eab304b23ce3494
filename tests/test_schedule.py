"""The learning rate is a function of the step alone, and its horizon is not the run's length."""

import math
from typing import get_args

import pytest
from small import config

from trainer.config.optim import OptimConfig, ScheduleConfig
from trainer.optimisers import OPTIMISERS
from trainer.schedule import SHAPES, learning_rate


def test_values():
    run = config(
        "optim.lr=0.1",
        "schedule.warmup_epochs=2",
        "schedule.horizon_epochs=10",
        "schedule.final_lr_ratio=0.01",
        epochs=10,
    )
    per_epoch = run.steps_per_epoch
    assert per_epoch == 1100 // 64
    assert learning_rate(run, 0) == pytest.approx(0.1 / (2 * per_epoch))
    assert learning_rate(run, 2 * per_epoch - 1) == pytest.approx(0.1)
    assert learning_rate(run, 2 * per_epoch) == pytest.approx(0.1)
    last = 10 * per_epoch - 1
    assert learning_rate(run, last) == pytest.approx(0.001)
    middle = (2 * per_epoch + last) / 2
    expected = 0.001 + 0.099 * (math.cos(math.pi * (int(middle) - 2 * per_epoch) / (last - 2 * per_epoch)) + 1) / 2
    assert learning_rate(run, int(middle)) == pytest.approx(expected)


def test_every_name_has_what_it_names():
    for kind, made in ((OptimConfig, OPTIMISERS), (ScheduleConfig, SHAPES)):
        assert {*get_args(kind.model_fields["name"].annotation)} == made.keys(), kind


def test_switch_constant():
    run = config("schedule.name=constant", "schedule.warmup_epochs=0.5", "optim.lr=0.1")
    assert [learning_rate(run, step) for step in (8, 100, 509)] == [0.1] * 3
    assert learning_rate(run, 0) < 0.02


def test_no_warmup_starts_at_the_full_rate():
    assert learning_rate(config("schedule.warmup_epochs=0", "optim.lr=0.1"), 0) == pytest.approx(0.1)


def test_the_horizon_is_not_how_far_we_run():
    gate = config("schedule.horizon_epochs=2000", "optim.lr=0.1", epochs=30)
    assert learning_rate(gate, 30 * gate.steps_per_epoch) > 0.099
    assert learning_rate(config("optim.lr=0.1", epochs=5), 84) == learning_rate(config("optim.lr=0.1", epochs=30), 84)
