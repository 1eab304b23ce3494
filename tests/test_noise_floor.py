"""``--noise-floor``: the reference arm first, on seeds of its own, and what its spread means."""

import math

import pytest
from engine import make, plan, play
from test_analysis import Builder

from analysis.recorded.study import load
from analysis.sentences.noise_floor import noise_floor
from studies.command.options import parser
from studies.command.planning import make_plan
from studies.engine.plan_lines import plan_lines
from studies.step2_grid import STUDY as GRID
from studies.step2_rate import STUDY
from trainer.errors import UsageError
from trainer.record.resolvable import detectable, step


def test_the_reference_runs_first_on_seeds_that_nothing_else_uses(tmp_path):
    p = plan(tmp_path, noise_floor=3, top_k=2, race=1)
    jobs = make(p)
    first = [jobs.next() for _ in range(3)]
    assert [job.seed for job in first] == [1100, 1101, 1102] and all(job.trial is None for job in first)
    assert {job.overrides["objective.weights.rate"] for job in first} == {0.0} and jobs.next().trial == 0
    assert not set(p.noise_seeds) & {p.search_seed, *p.races, *p.seeds}
    again = make(p)
    assert len(again.noise.queue) == 3 and len(again.decisions.of("noise")) == 1
    play(again)
    assert again.left == 0 and make(p).left == 0 and not make(p).noise.queue
    more = make(plan(tmp_path, noise_floor=5, top_k=2, race=1))  # a continued study may ask for more of them
    assert [job.seed for job in more.noise.queue] == [1103, 1104]
    assert more.decisions.last("noise")["seeds"] == [1100, 1101, 1102, 1103, 1104]
    without = make(plan(tmp_path / "b"))
    assert without.next().trial == 0 and not without.decisions.of("noise")


def test_its_spread_in_a_sentence(tmp_path):
    made = Builder(tmp_path / "demo", seeds=[1, 2, 3, 4])
    runs = [made.run(f"n-{seed}", value) for seed, value in enumerate([50.0, 53.0, 56.0])]
    made.arm("a", "grid", "stopgrad", 0.1, [60.0] * 4)
    made.decide({"event": "noise", "label": "the preset", "seeds": [7, 8, 9], "runs": runs})
    (said,) = noise_floor(load(made.folder))
    smallest = math.sqrt(2) * 3.0 * detectable(4, step(1))
    assert "the preset on seeds 7, 8, 9" in said and "53.0 percent, s.d. 3.0" in said and f"{smallest:.1f}" in said
    early = Builder(tmp_path / "early")
    early.decide({"event": "noise", "label": "the preset", "seeds": [7, 8, 9], "runs": ["x", "y", "z"]})
    assert "0 of 3 runs have ended" in noise_floor(load(early.folder))[0]
    assert noise_floor(load(Builder(tmp_path / "none").folder)) == []


def test_the_option(tmp_path):
    def planned(study, *words):
        return make_plan(parser(study).parse_args(["--results-dir", str(tmp_path), *words]), study)

    p = planned(STUDY, "--noise-floor", "5")
    assert p.noise_seeds == (1100, 1101, 1102, 1103, 1104) and "noise floor" in "\n".join(plan_lines(p))
    assert p.most_epochs == planned(STUDY).most_epochs + 150
    assert planned(GRID, "--noise-floor", "3").noise_arm[0] == "stopgrad λ=0 cosine"
    for number in ("1", "2", "101", "-1"):
        with pytest.raises(UsageError, match="must be 3"):
            planned(STUDY, "--noise-floor", number)
