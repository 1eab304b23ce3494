"""What a study would cost on a rented card: from its plan, the card and the price, before anything is spent."""

import json

import pytest
from test_vast_command import service  # noqa: F401 - a fixture

from clusters.vast.__main__ import main
from clusters.vast.command.study import _estimated
from clusters.vast.command.travel import Trip, _epochs, _remember
from clusters.vast.estimate import SETUP_HOURS, SPEEDS, STEP_SECONDS, Work, estimate, work_of
from clusters.vast.instance import Instance
from clusters.vast.memory import Memory
from clusters.vast.offers import Offer
from trainer import presets
from trainer.command.duration import work

WORK = Work(steps=351, macs=2.5e14, precision="bf16", expected=1000, most=1500)


def offered(card="RTX 4090", count=1, price=0.5):
    return Offer(1, 1, card, count, price, 20.0, 0.03, 0.99, "?")


def test_a_plans_line_is_read_as_it_was_meant():
    for name, precision in (("cifar100_aug_gate", "bf16"), ("digits", "fp32")):
        config = presets.load(name, [], {})
        found = work_of(f"study  x\n{work(config, 10.4, 20)}\ntime  y")
        assert (found.steps, found.precision, found.expected, found.most) == (config.steps_per_epoch, precision, 10, 20)
        assert found.macs > 1e9
    assert work_of("study  x\ntime  y") is None


def test_hours_price_and_traffic(tmp_path):
    memory = Memory(tmp_path / "m.json")
    found = estimate(WORK, offered(), memory)
    training = 1000 * 2.5e14 / SPEEDS["RTX 4090"]["bf16"] / 3600
    assert found.hours == pytest.approx(SETUP_HOURS + training)
    assert found.usd == pytest.approx(found.hours * 0.5 + 0.03) and found.most_usd > found.usd
    assert found.most_hours == pytest.approx(SETUP_HOURS + 1.5 * training) and "factor of about 2" in found.source
    assert estimate(WORK, offered(count=4), memory).hours == pytest.approx(SETUP_HOURS + training / 4)
    assert estimate(WORK, offered("RTX 3090"), memory).hours > found.hours
    assert estimate(WORK, offered("GTX 1"), memory) is None
    small = Work(steps=17, macs=2e9, precision="fp32", expected=1000, most=1000)
    assert estimate(small, offered(), memory).hours == pytest.approx(SETUP_HOURS + 17 * STEP_SECONDS * 1000 / 3600)


def test_what_was_measured_on_the_card_is_preferred_and_only_for_the_same_work(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    runs = tmp_path / "results" / "runs" / "a"
    runs.mkdir(parents=True)
    (runs / "records.jsonl").write_text('{"event":"begin"}\n' + '{"event":"epoch","epoch":1}\n' * 30)
    monkeypatch.setattr("clusters.vast.command.travel.ROOT", tmp_path)
    trip = Trip(None, [], "results", 1.0, work=WORK)
    machine = Instance(1, 1, "running", {}, "RTX 4090", 1, 0.5, 0.0, None, None)
    _remember(trip, machine, _epochs(trip), 30 * 7.2)
    found = estimate(WORK, offered(), Memory())
    assert found.hours == pytest.approx(SETUP_HOURS + 1000 * 7.2 / 3600) and "measured" in found.source
    other = Work(351, 2.6e14, "bf16", 1000, 1500)
    assert "measured" not in estimate(other, offered(), Memory()).source
    assert "measured" not in estimate(WORK, offered(count=2), Memory()).source
    _remember(trip, machine, 3, 900.0)  # a start, not a speed
    assert estimate(WORK, offered(), Memory()).hours == found.hours


def test_offers_show_what_a_study_costs_there(service, capsys):  # noqa: F811
    words = ["offers", "studies/step2_rate.py", "--preset", "cifar100_aug_gate", "--download"]
    words += ["--gpus-per-trial", "0.5"]  # of the machine: this one may have none
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    first, last = rows[0], rows[-1]
    assert first["gpus"] == "1 x RTX 4090" and 2 < first["study_hours"] < 6 and 0.5 < first["study_usd"] < 3
    assert last["gpus"] == "1 x RTX 3090" and last["study_hours"] > first["study_hours"]
    assert main(words) == 0 and "study_usd" in capsys.readouterr().out
    assert main(["offers"]) == 0 and "study_usd" not in capsys.readouterr().out
    for wrong, said in (
        (["offers", "--jsno"], "--json"),
        (["offers", "x.py"], "give a file"),
        ([*words, "--epohcs"], "--epochs"),
    ):
        assert main(wrong) == 2 and said in capsys.readouterr().err
    assert service.ledger.rentals == {}


def test_a_study_that_may_not_fit_is_told_before_the_question(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    def said(hours, work=WORK):
        return _estimated(Trip(None, [], "results", 1.0, work=work), offered("RTX 3090"), hours)

    found = estimate(WORK, offered("RTX 3090"), Memory())
    assert f"about {found.hours:.1f} h, {found.usd:.2f} USD" in said(99) and "limits" not in said(99)
    assert "           perhaps more than the machine's limits" in said((found.hours + found.most_hours) / 2)
    assert "           more than the machine's limits" in said(found.hours / 2)
    assert "does not count its arithmetic" in said(9, work=None)
