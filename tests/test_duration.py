"""The estimate of a plan's time, against torch's own count of what is computed."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from trainer import presets
from trainer.blocks.faces import make_encoder
from trainer.command.duration import duration, encoder_macs, estimate, measured
from trainer.config import EncoderConfig
from trainer.families.seq_jepa import epoch_macs


@pytest.mark.parametrize("side", [12, 32, 97])
@pytest.mark.parametrize(
    "encoder",
    [
        {"width": 8},
        {"name": "resnet18", "width": 16},
        {"name": "resnet18", "width": 16, "stem": "imagenet"},
        {"name": "stack", "width": 8, "blocks": 5},
        {"name": "crate", "width": 16, "crate": {"patch": 4, "depth": 2}},
        {"name": "crate", "width": 16, "crate": {"patch": 4, "dictionary": "overcomplete", "ratio": 2.5}},
    ],
    ids=["conv", "resnet18", "imagenet", "stack", "crate", "alpha"],
)
def test_multiply_adds_are_those_that_torch_counts(encoder, side):
    config = EncoderConfig(**encoder)
    side -= side % 4 if config.patches else 0
    with FlopCounterMode(display=False) as counted:
        make_encoder(config, 3).eval().tokens(torch.zeros(2, 3, side, side))
    assert counted.get_total_flops() / 2 / 2 == encoder_macs(config, 3, side)


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        (["objective.teacher=ema"], 3 * 3 + 1),  # three observed views with their gradients, and a target without one
        (["objective.teacher=shared", "objective.ema=null"], 3 * 3 + 3),
        (["objective.symmetric=true"], 3 * 4 + 2),
    ],
    ids=["ema", "shared", "symmetric"],
)
def test_an_epochs_passes(settings, passes):
    config = presets.load("digits", settings, {})
    assert epoch_macs(config) == 1100 * passes * encoder_macs(config.model.encoder, 1, 12)


def test_a_streams_epoch_is_a_part_of_the_images_and_takes_as_long_as_its_steps():
    words = ["data.stream.segments=5", "schedule.horizon_epochs=5", "epochs=5", "data.stream.replay.ratio=0.75"]
    config = presets.load("digits", [*words, "optim.batch_size=8"])
    assert epoch_macs(config) == 220 * 4 * 10 * encoder_macs(config.model.encoder, 1, 12)
    usual = presets.load("digits")
    assert measured(usual, "digits") == usual.runtime.seconds_per_epoch
    assert measured(config, "digits") == pytest.approx(27 / 17 * usual.runtime.seconds_per_epoch)
    assert measured(presets.load("cifar10_rot"), "cifar10_rot") is None


def test_a_plan_knows_how_many_steps_its_arms_take(capsys):
    from studies import step2_rate, step5_online

    found = []
    for study, words in ((step5_online, ["--quick"]), (step5_online, []), (step2_rate, ["--num-trials", "9999"])):
        study.main([*words, "--dry-run", "--max-concurrent", "2", "--executor", "process"])
        (line,) = (one for one in capsys.readouterr().out.splitlines() if one.startswith("time"))
        found.append(re.search(r"about (\S+) (s|min|h)", line).groups())
    # single images take 4,400 steps instead of 68
    assert [unit for _, unit in found] == ["s", "min", "h"]


def test_a_plan_for_cifar_tells_its_time(capsys):
    from studies import step2_rate

    step2_rate.main(["--preset", "cifar10_rot", "--dry-run", "--max-concurrent", "2", "--epochs", "30"])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("time"))
    assert re.search(r"about \d+ days on 2 CPU cores, \d+ min on one H200", line) and "factor of about 2" in line
    one, two = (estimate(presets.load("cifar10_rot", [], {}), 100, cores) for cores in (1, 2))
    assert "one CPU core" in one and one != two


def test_durations_read_as_people_say_them():
    assert [duration(s) for s in (4.21, 89, 600, 4.5 * 3600, 60 * 3600, 57 * 86400)] == [
        "4.2 s",
        "89 s",
        "10 min",
        "4.5 h",
        "2.5 days",
        "57 days",
    ]
