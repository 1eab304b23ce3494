"""Gates: nothing missing passes, and each preset's gates fail for untrained and collapsed models."""

import pytest
from small import config

from trainer import presets
from trainer.config import GateConfig
from trainer.errors import UsageError
from trainer.families.seq_jepa.probing import health
from trainer.gates import judge
from trainer.loop import train
from trainer.record.identity import run_id
from trainer.record.run import read

RULE = (
    "gates.g={epoch: 2, rank_agg_ratio_min: 2, linacc_gain_min: 3, r2_action_min: 0.1, rank_z_min: 2, predict_max: 0.5}"
)
GOOD = {
    "linacc/z_agg@3": 60.0,
    "rank_pr/z_agg@3": 9.0,
    "rank_pr/z@3": 5.0,
    "r2_action.feature_std/z_pair@2": 0.3,
    "predict/z_hat@3": 0.1,
}
START = {"linacc/z_agg@3": 50.0, "rank_pr/z_agg@3": 3.0}


def line(epoch, metrics):
    return {"event": "eval", "split": "validation", "epoch": epoch, "metrics": metrics}


def test_a_good_run_passes_and_every_rule_gives_a_reason():
    verdict = judge(config(RULE), "g", [line(0, START), line(2, GOOD)])
    assert verdict.passed and len(verdict.reasons) == 5


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("bad", ["missing", "null", "nan", "short"])
def test_each_rule_can_fail_alone(name, bad):
    changed = dict(GOOD)
    if bad == "missing":
        del changed[name]
    else:
        changed[name] = {"null": None, "nan": float("nan"), "short": 99.0 if name.startswith("predict") else -1.0}[bad]
    verdict = judge(config(RULE), "g", [line(0, START), line(2, changed)])
    assert not verdict.passed
    assert sum(reason.startswith("FAIL") for reason in verdict.reasons) == 1


@pytest.mark.parametrize(
    "rule, metric, untrained, trained, passes",
    [
        # a gain is over the run's own untrained encoder: 52 % is a lot above 3 and little above 50
        ("linacc_gain_min: 3", "linacc/z_agg@3", 50.0, 52.0, False),
        ("linacc_gain_min: 3", "linacc/z_agg@3", 50.0, 53.0, True),
        ("linacc_gain_min: 3", "linacc/z_agg@3", 10.0, 13.5, True),
        ("linacc_gain_min: 0", "linacc/z_agg@3", 50.0, 49.9, False),
        ("linacc_gain_min: -2", "linacc/z_agg@3", 50.0, 48.5, True),
        # an absolute bound does not care where the run began
        ("linacc_min: 51", "linacc/z_agg@3", 10.0, 50.9, False),
        ("linacc_min: 51", "linacc/z_agg@3", 90.0, 51.0, True),
        # a ratio is neither a difference nor a bound of its own
        ("rank_agg_ratio_min: 3", "rank_pr/z_agg@3", 3.0, 8.9, False),
        ("rank_agg_ratio_min: 3", "rank_pr/z_agg@3", 3.0, 9.0, True),
        ("rank_agg_ratio_min: 0.5", "rank_pr/z_agg@3", 8.0, 3.9, False),
        ("rank_agg_min: 4", "rank_pr/z_agg@3", 1.0, 3.9, False),
        ("rank_agg_min: 4", "rank_pr/z_agg@3", 8.0, 4.0, True),
    ],
)
def test_what_is_relative_to_the_untrained_encoder_and_what_is_not(rule, metric, untrained, trained, passes):
    more = "" if rule.startswith("rank") else ", rank_agg_min: 1"
    start, end = ({"rank_pr/z_agg@3": 2.0, metric: value} for value in (untrained, trained))
    assert (
        judge(config(f"gates.g={{epoch: 2, {rule}{more}}}"), "g", [line(0, start), line(1, {}), line(2, end)]).passed
        == passes
    )


def test_a_missing_epoch_or_baseline_fails():
    assert not judge(config(RULE), "g", [line(0, START), line(1, GOOD)]).passed
    assert not judge(config(RULE), "g", [line(2, GOOD)]).passed
    assert not judge(config(RULE), "g", [line(0, {**START, "rank_pr/z_agg@3": 0.0}), line(2, GOOD)]).passed
    assert not judge(config(RULE), "g", []).passed


def test_an_unknown_gate_or_key_is_an_error():
    with pytest.raises(UsageError, match="gate = 'h'"):
        judge(config(RULE), "h", [])
    with pytest.raises(UsageError, match="unknown key"):
        config("gates.g={epoch: 2, rank_agg_min: 1, linacc_gian_min: 3}")
    with pytest.raises(UsageError, match="collapsed run could pass"):
        config("gates.g={epoch: 2, linacc_gain_min: 3}")


CONTROLS = {
    "shared": ["objective.teacher=shared", "objective.weights.rate=0"],
    "lambda0": ["objective.teacher=stopgrad", "objective.weights.rate=0"],
    "lambda0-ema": ["objective.teacher=ema", "objective.weights.rate=0"],
}
FIRST = ["objective.weights.rate=0.1"]
"""The preset's strength when its gates were set."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits):
    """Full-length runs of the preset as it is, of its controls and of the arm it is meant for."""
    folder, lines = tmp_path_factory.mktemp("gates"), {}
    patch = pytest.MonkeyPatch()
    patch.setattr(health, "mlp_r2", lambda *_: 0.0)  # of poses, which no gate reads: two of a probe's three networks
    for name, overrides in {"rate": [], "first": FIRST, "strong": ["objective.weights.rate=1"], **CONTROLS}.items():
        # gates read full probes alone, and nothing is resumed; at gate30 the strong rate is not judged
        how = {"runtime.across_commits": True, "runtime.checkpoint_every": 30, "eval.live_every": 30}
        how["epochs"] = 10 if name == "strong" else 30
        run = presets.load("digits", overrides, how)
        train(run, folder, images=digits)
        lines[name] = list(read(folder / run_id(run) / "records.jsonl"))
    patch.undo()
    return lines


GATES = sorted(set(presets.load("digits").gates) - {"smoke"})


@pytest.mark.parametrize("gate", GATES)
def test_every_gate_of_the_preset_fails_for_untrained_and_collapsed_models(trained, gate):
    run = presets.load("digits")
    assert isinstance(run.gates[gate], GateConfig)
    for control in CONTROLS:
        assert not judge(run, gate, trained[control]).passed, control
    untrained = [entry for entry in trained["rate"] if entry["epoch"] == 0]
    pretended = [*untrained, {**untrained[0], "epoch": run.gates[gate].epoch}]
    assert not judge(run, gate, pretended).passed
    for arm in ("rate", "first"):
        assert judge(run, gate, trained[arm]).passed, judge(run, gate, trained[arm]).reasons
    if gate in ("quick", "baseline_lite"):
        assert not judge(run, gate, trained["strong"]).passed


def test_smoke_passes_what_runs_and_fails_what_is_not_finite(trained):
    run = presets.load("digits")
    for arm, lines in trained.items():
        assert judge(run, "smoke", lines).passed, arm
        broken = [
            {**entry, "metrics": {**entry["metrics"], "predict/z_hat@3": float("nan")}}
            for entry in lines
            if entry["event"] == "eval"
        ]
        assert not judge(run, "smoke", broken).passed


def test_the_controls_collapse_as_they_should(trained):
    def end(name):
        return [entry for entry in trained[name] if entry["event"] == "eval"][-1]["metrics"]

    assert end("shared")["rank_pr/z_agg@3"] < 1.5 and end("shared")["rank_pr/z@3"] < 2
    for control in ("lambda0", "lambda0-ema"):
        assert end(control)["rank_pr/z@3"] < 0.5 * end("rate")["rank_pr/z@3"]
        assert end(control)["rank_pr/z_agg@3"] < 0.2 * end("rate")["rank_pr/z_agg@3"]
    assert end("rate")["linacc/z_agg@3"] > end("lambda0")["linacc/z_agg@3"]
