"""``--until-resolved``: seeds are added while a verdict is missing, by a schedule fixed before; looks cost level."""

from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from engine import make, plan, play
from test_analysis import Builder

from analysis.recorded.study import load
from analysis.sentences.caveats import caveats
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.differences import differences
from analysis.statistics.family import BETTER, NOT_RESOLVED, WORSE, decide
from analysis.statistics.paired import paired
from studies import Contrast
from studies.command import resolved
from studies.command.options import parser
from studies.command.planning import make_plan
from studies.engine.metrics import metric
from studies.engine.plan_lines import plan_lines
from studies.step2_rate import STUDY
from trainer.errors import UsageError
from trainer.record.looks import looks


def test_the_schedule_of_looks():
    assert looks(4, None) == (4,) and looks(4, 4) == (4,) and looks(4, 5) == (4, 5)
    assert looks(4, 10) == (4, 6, 8, 10) and looks(3, 10) == (3, 5, 7, 9, 10)


def test_looking_often_does_not_find_more_where_nothing_differs():
    """Any word at any of the looks in at most 5 % of null studies; without the correction it would be 9 %."""
    at, random, words, naive = looks(4, 12), np.random.default_rng(0), 0, 0
    for _ in range(1500):
        values = random.standard_normal((3, 2, 12))
        for number, n in enumerate(at):
            pairs = [paired(dict(enumerate(a[:n])), dict(enumerate(b[:n]))) for a, b in values]
            found = [one.verdict for one in decide(pairs, len(at))]
            plain = [one.verdict for one in decide(pairs)]
            if number == 0:
                any_word = any_plain = False
            any_word |= bool({BETTER, WORSE} & set(found))
            any_plain |= bool({BETTER, WORSE} & set(plain))
        words, naive = words + any_word, naive + any_plain
    assert words / 1500 <= 0.05 < naive / 1500


def test_each_look_decides_at_its_part_of_the_level():
    values = {seed: 10 + 3 * (-1) ** seed for seed in range(4)}
    found = paired(values, dict.fromkeys(values, 0.0))
    alone, often = decide([found])[0], decide([found], 5)[0]
    assert alone.verdict == BETTER and often.level == pytest.approx(alone.level / 5)
    assert often.p_holm == pytest.approx(min(1.0, 5 * alone.p_holm)) and often.resolvable > alone.resolvable
    assert often.verdict == (BETTER if found.p < 0.01 else NOT_RESOLVED)


def counted(tmp_path, answers, until=8):
    """A study played to its end; ``answers`` are the numbers of contrasts unresolved at each look."""
    jobs = make(plan(tmp_path, num_trials=0, confirm=(), seeds=(0, 1, 2, 3), until=until))
    play(jobs)
    given = iter(answers)

    def look(jobs):
        if jobs.left or not jobs.comparison.may_look:
            return False
        return jobs.comparison.look(["a question"] * next(given))

    while look(jobs):
        play(jobs)
    return jobs


def test_seeds_are_added_until_all_is_resolved_and_never_after(tmp_path):
    jobs = counted(tmp_path, [1, 1])
    assert jobs.comparison.seeds == [0, 1, 2, 3, 4, 5, 6, 7] and not jobs.comparison.may_look
    jobs = counted(tmp_path / "b", [2, 0], until=12)
    assert jobs.comparison.seeds == [0, 1, 2, 3, 4, 5]
    again = make(jobs.plan)
    assert again.comparison.seeds == [0, 1, 2, 3, 4, 5] and again.left == 0 and not again.comparison.may_look
    again.comparison.write()
    assert again.decisions.of("compare")[-1]["seeds"] == [0, 1, 2, 3, 4, 5]


def test_a_kill_between_a_look_and_its_runs_loses_nothing(tmp_path):
    p = plan(tmp_path, num_trials=0, confirm=(), seeds=(0, 1, 2, 3), until=8)
    jobs = make(p)
    play(jobs)
    assert jobs.comparison.look(["a question"])
    again = make(p)
    assert again.left == 2 * len([arm for arm in p.arms if arm.role != "untrained"])
    play(again)
    assert again.comparison.may_look and not again.left


def planned(folder, *words):
    return make_plan(parser(STUDY).parse_args(["--results-dir", str(folder), *words]), STUDY)


def test_the_option_is_planned_registered_and_checked(tmp_path):
    from trainer.record.registration import registration

    p = planned(tmp_path, "--until-resolved", "10")
    assert p.looks == (4, 6, 8, 10) and "4 looks at most, each at .05 / 4" in "\n".join(plan_lines(p))
    assert registration(p.stored())["hash"] != registration(planned(tmp_path).stored())["hash"]
    assert p.most_epochs > planned(tmp_path).most_epochs
    for words, said in (
        (["--until-resolved", "4"], "must be more than the 4 seeds"),
        (["--until-resolved", "101"], "at most 100"),
        (["--until-resolved", "8", "--no-verdict"], "--until-resolved has no effect"),
        (["--until-resolved", "8", "--seeds", "2"], "begins with 2 seeds, of which a look resolves nothing"),
    ):
        with pytest.raises(UsageError, match=said):
            planned(tmp_path, *words)


@pytest.mark.parametrize("gap, unresolved", [(0.0, ["up or down"]), (40.0, [])])
def test_the_look_asks_the_analysis(tmp_path, gap, unresolved):
    """A study on record whose arms differ by much is resolved; one whose arms do not differ is not."""
    contrast = Contrast("up or down", "up", "down").measured("linacc/z_agg@M")
    asked = {"question": "Up?", "contrasts": [asdict(contrast)], "metric": asdict(metric("linacc/z_agg@M"))}
    made = Builder(tmp_path / "demo", declared=asked, seeds=[1, 2, 3, 4], until=8)
    for key, level in (("up", 50 + gap), ("down", 50.0)):
        values = [level + 2 * (-1) ** n + (n if key == "up" else 0) for n in range(4)]
        made.arm(key, "grid", "stopgrad", 0.1, values)
        made.decide({**made.decided()[-1], "key": key})
    notes = []
    comparison = SimpleNamespace(
        may_look=True, write=lambda: None, look=lambda open_: notes.append(open_) or bool(open_)
    )
    plan_ = SimpleNamespace(folder=made.folder)
    jobs = SimpleNamespace(left=0, running={}, may_start=lambda: True, comparison=comparison, plan=plan_)
    assert resolved.more_seeds(jobs) == bool(unresolved) and notes == [unresolved]
    study = load(made.folder)
    (said,) = [line for line in caveats(study, comparison_table(study), differences(study)) if "to be added" in line]
    assert "(4, 6, 8 seeds; none yet); each look decides at .05 / 3" in said


def test_more_seeds_waits_for_runs(tmp_path):
    jobs = make(plan(tmp_path, num_trials=0, confirm=(), seeds=(0, 1, 2, 3), until=8))
    assert not resolved.more_seeds(jobs)


def test_added_seeds_are_none_of_the_search_or_the_race(tmp_path):
    jobs = make(plan(tmp_path, num_trials=0, confirm=(), seeds=(996, 997, 998, 999), until=8))
    play(jobs)
    assert jobs.comparison.look(["a question"]) and jobs.comparison.seeds[4:] == [0, 1]
    play(jobs)
    assert jobs.comparison.look(["a question"]) and jobs.comparison.seeds[6:] == [2, 3]


def test_a_study_that_dies_after_a_look_is_seen_to_lack_its_runs(tmp_path):
    jobs = make(plan(tmp_path, num_trials=0, confirm=(), seeds=(0, 1, 2, 3), until=8))
    play(jobs)
    jobs.comparison.look(["a question"])
    assert all(line["seeds"] == [0, 1, 2, 3, 4, 5] for line in jobs.decisions.of("compare"))


def test_a_spent_budget_leaves_a_look_that_is_still_to_come(tmp_path):
    jobs = make(plan(tmp_path, num_trials=0, confirm=(), seeds=(0, 1, 2, 3), until=8))
    play(jobs)
    jobs.budget_reached = "spent"
    assert not resolved.more_seeds(jobs) and jobs.done and not jobs.complete
    assert jobs.comparison.look([]) is False and jobs.complete


def test_no_seed_is_added_for_a_contrast_none_of_whose_runs_has_a_value(tmp_path):
    contrast = Contrast("up or down", "up", "down").measured("linacc/z_agg@M")
    asked = {"question": "Up?", "contrasts": [asdict(contrast)], "metric": asdict(metric("linacc/z_agg@M"))}
    made = Builder(tmp_path / "demo", declared=asked, seeds=[1, 2, 3, 4], until=8)
    for key, values in (("up", [None] * 4), ("down", [50.0, 51.0, 52.0, 53.0])):
        made.arm(key, "grid", "stopgrad", 0.1, values)
        made.decide({**made.decided()[-1], "key": key})
    notes = []
    comparison = SimpleNamespace(may_look=True, write=lambda: None, look=notes.append)
    plan_ = SimpleNamespace(folder=made.folder)
    resolved.more_seeds(SimpleNamespace(left=0, running={}, may_start=lambda: True, comparison=comparison, plan=plan_))
    assert notes == [[]]
