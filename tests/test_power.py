"""What seeds can resolve: said before a study, planned from its records, and the same number in its verdict."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from engine import plan
from scipy import stats
from test_analysis import Builder

from analysis.recorded.study import load
from analysis.statistics.differences import differences
from studies import step2_rate
from studies.__main__ import main as studies_main
from studies.engine.earlier_pairs import Earlier
from studies.engine.power import power_lines, smallest
from trainer.record.identity import arm_id
from trainer.record.resolvable import detectable, seeds_for, step

LEVELS = ("stopgrad", "ema")


def resolved_in(random, n: int, differences: list[float], sd: float, studies: int = 8000) -> float:
    """Part of simulated studies in which Holm's rule over paired t tests resolves the first contrast; written without
    the product's own code."""
    m = len(differences)
    drawn = np.array(differences)[None, :, None] + sd * random.standard_normal((studies, m, n))
    p = stats.ttest_1samp(drawn, 0.0, axis=2).pvalue
    order = np.argsort(p, axis=1)
    passed = np.take_along_axis(p, order, 1) < 0.05 / (m - np.arange(m))
    passed = np.logical_and.accumulate(passed, axis=1)
    place = np.argmax(order == 0, axis=1)
    return float(passed[np.arange(studies), place].mean())


@pytest.mark.parametrize(("n", "contrasts", "sd"), [(3, 3, 2.0), (4, 6, 5.0), (8, 1, 0.3)])
def test_the_smallest_difference_is_resolved_as_often_as_is_said(n, contrasts, sd):
    first, last = smallest(sd, n, contrasts)
    random, rest = np.random.default_rng(n), contrasts - 1
    # where the others are null, a false alarm among them lets this one be judged a little more kindly
    found = resolved_in(random, n, [first, *[0.0] * rest], sd)
    assert 0.785 < found < 0.83
    assert resolved_in(random, n, [last, *[1000.0 * sd] * rest], sd) == pytest.approx(0.8, abs=0.015)
    assert resolved_in(random, n, [0.6 * first, *[0.0] * rest], sd) < 0.6


def test_the_numbers_follow_seeds_spread_contrasts_and_power():
    first, last = smallest(2.0, 4, 3)
    assert first > last
    assert smallest(4.0, 4, 3) == pytest.approx((2 * first, 2 * last))
    assert smallest(2.0, 5, 3) < (first, last) and smallest(2.0, 4, 6)[0] > first and smallest(2.0, 4, 6)[1] == last
    assert smallest(2.0, 4, 3, power=0.95) > (first, last) > smallest(2.0, 4, 3, power=0.5)
    assert math.isnan(detectable(1, 0.05))


@pytest.mark.parametrize("size", [1.0, 3.0, 8.0])
def test_the_seeds_for_a_difference_are_the_fewest(size):
    n = seeds_for(size, 2.0, step(3))
    assert detectable(n, step(3)) * 2.0 <= size and (n == 3 or detectable(n - 1, step(3)) * 2.0 > size)
    assert seeds_for(-size, 2.0, step(3)) == n
    assert seeds_for(0.0, 2.0, step(3)) is seeds_for(1e-3, 2.0, step(3)) is seeds_for(1.0, math.nan, 0.05) is None


def recorded(folder, values: dict[str, list[float]], **info):
    """A study like step2_rate with arms by their keys and values by seed."""
    declared = step2_rate.STUDY.declaration(step2_rate.STUDY.fixed_arms(False))
    noted = {"question": declared.question, "contrasts": [vars(one) for one in declared.contrasts]}
    begun = {"study": folder.name, "created": folder.name, "preset": "digits", "declared": noted, "epochs": 30}
    made = Builder(folder, **begun | info)
    for key, measured in values.items():
        teacher = key.split("/")[1]
        role = "lambda0" if key.endswith("lambda0") else "best"
        arm_id = key.replace("/", "-")
        runs = [f"{arm_id}-s{seed}" for seed in range(len(measured))]
        for run_id, value in zip(runs, measured, strict=True):
            made.run(run_id, value, epochs=30)
        made.decide(
            {
                "event": "compare", "key": key, "arm_id": arm_id, "role": role, "label": key, "teacher": teacher,
                "lambda_rate": 0.0, "reference": f"{arm_id}-lambda0" if role == "best" else None, "peer": None,
                "runs": runs, "seeds": list(range(len(runs))), "search_value": None, "place": None,
            }
        )  # fmt: skip
    return made.folder


def random_arms(n: int, seed: int = 0) -> dict[str, list[float]]:
    random = np.random.default_rng(seed)
    keys = [f"best/{level}{end}" for level in LEVELS for end in ("/lambda0", "")]
    return {key: random.normal(60.0, 3.0, n).round(4).tolist() for key in keys}


def test_the_plan_says_what_the_verdict_says_afterwards(tmp_path):
    """A study of the same seeds as one on record, planned from it: one formula, one number."""
    folder = recorded(tmp_path / "before", random_arms(4))
    found = differences(load(folder))
    primary = found[found["primary"]]
    assert list(primary["n"]) == [4, 4, 4] and (primary["verdict"] == "not resolved").all()
    earlier = Earlier(tmp_path, "digits", 30)
    for _, row in primary.iterrows():
        spread = earlier.spread(row["question"], f"{row['metric']}@M")
        assert spread.same and spread.sd == pytest.approx(row["sd"])
        assert smallest(spread.sd, 4, 3)[0] == pytest.approx(row["resolvable_with_power"])
    said = "\n".join(power_lines(plan(tmp_path / "now", seeds=(5, 6, 7, 8))))
    for value in primary["resolvable_with_power"]:
        assert f"{value:.1f} points" in said.replace("\n             ", " ")


def test_the_spread_is_of_the_same_contrast_else_of_other_arms_else_a_guess(tmp_path):
    now = plan(tmp_path / "now", seeds=(5, 6, 7, 8))

    def said(p=now) -> str:
        return " ".join(" ".join(power_lines(p)).split())

    first, last = smallest(4.0, 4, 3)
    assert f"{first:.1f} points, {last:.1f} once the others are resolved" in said() and "4, a GUESS" in said()
    recorded(tmp_path / "other", random_arms(3), preset="cifar10_rot")
    recorded(tmp_path / "shorter", random_arms(3), epochs=20)
    assert "a GUESS, as no study of digits with 30 epochs" in said()
    arms = {key: values for key, values in random_arms(5, 1).items() if "stopgrad" in key}
    recorded(tmp_path / "one", arms)
    assert "from the same contrast in one (5 pairs of runs)" in said()  # of the rate under stopgrad
    assert "from 1 other pair of arms in one (5 pairs of runs)" in said()  # of what was not asked there
    shutil.copytree(tmp_path / "one", tmp_path / "copy")  # of the same runs: no more is known
    assert re.search(r"from the same contrast in (one|copy) \(5 pairs of runs\)", said())
    shutil.rmtree(tmp_path / "copy")
    recorded(tmp_path / "again", arms)  # the same arms on the same seeds, run once more
    assert re.search(r"from the same contrast in (one|again) \(5 pairs of runs\)", said())
    shutil.rmtree(tmp_path / "again")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.json").write_text("{")
    assert "from the same contrast in one" in said()
    recorded(tmp_path / "two", random_arms(3, 2))
    assert "in 2 studies" in said() and "other pair" not in said()


def test_studies_with_other_common_settings_tell_less_and_are_said_to_have_them(tmp_path):
    now = plan(tmp_path / "now", seeds=(5, 6, 7, 8))
    other = "with other settings common to all arms"
    recorded(tmp_path / "other", random_arms(5, 1), base_arm="0" * 10)
    said = " ".join(" ".join(power_lines(now)).split())
    assert f"from the same contrast in other (5 pairs of runs), {other}" in said
    recorded(tmp_path / "own", random_arms(3, 2), base_arm=arm_id(now.base))
    said = " ".join(" ".join(power_lines(now)).split())
    assert "from the same contrast in own (3 pairs of runs)" in said and other not in said


def test_more_seeds_and_fewer_contrasts_change_what_the_dry_run_says(tmp_path):
    four = plan(tmp_path / "now", seeds=(0, 1, 2, 3))
    alone = replace(four, declared=replace(four.declared, contrasts=four.declared.contrasts[:1]))
    texts = [power_lines(one) for one in (four, plan(tmp_path / "now", seeds=tuple(range(8))), alone)]
    assert len({"\n".join(lines[2:]) for lines in texts}) == 3 and "Holm" not in "\n".join(texts[2])
    assert all(len(line) <= 80 for lines in texts for line in lines)
    none = replace(four, declared=replace(four.declared, contrasts=()))
    assert power_lines(none) == []
    assert "none: a verdict takes at least 3 seeds" in power_lines(plan(tmp_path / "now", seeds=(0, 1)))[0]


def test_the_command_prints_it(tmp_path, capsys):
    assert step2_rate.main(["--dry-run", "--seeds", "4", "--results-dir", str(tmp_path)]) == 0
    assert "\npower      4 seeds resolve a true difference of this size" in capsys.readouterr().out


def command(capsys, *words: str) -> tuple[int, str, str]:
    code = studies_main(["power", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_plans_seeds_from_records(tmp_path, capsys):
    folder = str(recorded(tmp_path / "some", random_arms(4)))
    found = differences(load(folder))
    primary = found[found["primary"]]
    code, said, _ = command(capsys, folder, "--json", "--difference", "3")
    rows = json.loads(said)
    assert code == 0 and [row["contrast"] for row in rows] == list(primary["question"])
    for row, (_, line) in zip(rows, primary.iterrows(), strict=True):
        assert row["resolvable"] == pytest.approx(line["resolvable_with_power"])  # the verdict's number
        n = row["seeds_for_difference"]
        assert detectable(n, step(3)) * row["sd"] <= 3 < detectable(n - 1, step(3)) * row["sd"]
    fewer, other = (
        json.loads(command(capsys, folder, "--json", "--difference", "3", *words)[1])
        for words in (("--contrasts", "1"), ("--power", "0.5"))
    )
    for row, alone, weaker in zip(rows, fewer, other, strict=True):
        for changed in (alone, weaker):
            assert changed["resolvable"] < row["resolvable"]
            assert changed["seeds_for_difference"] < row["seeds_for_difference"]
    often = str(recorded(tmp_path / "often" / "looks", random_arms(4), seeds=[0, 1, 2, 3], until=8))
    for row, (_, line) in zip(
        json.loads(command(capsys, often, "--json")[1]), differences(load(often)).iterrows(), strict=False
    ):
        assert row["looks"] == 3 and row["resolvable"] == pytest.approx(line["resolvable_with_power"])
    shutil.copytree(folder, tmp_path / "copy")
    code, said, noted = command(capsys, folder, str(tmp_path / "copy"), "--json")
    assert code == 0 and len(json.loads(said)) == 3
    assert noted == f"note: counted once: the runs of {tmp_path / 'copy'} are those of {folder}\n"
    # a folder of studies, as a table that a terminal holds
    recorded(tmp_path / "more", random_arms(2))
    code, said, _ = command(capsys, str(tmp_path), "--difference", "0.01")
    assert code == 0 and all(len(line) <= 80 for line in said.splitlines())
    assert "some: Holm over 3, power 80 %" in said and "more: Holm over 3" in said and "> 1000" in said


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--difference", "0"], "--difference 0: must be a number other than 0"),
        (["--difference", "inf"], "--difference inf: must be a number other than 0"),
        (["--power", "1"], "--power 1: must be 0.5 to 0.999"),
        (["--contrasts", "0"], "--contrasts 0: must be 1 to 100"),
        (["--seeds", "3"], "unknown option '--seeds'"),
    ],
)
def test_a_wrong_option_of_the_command_is_one_line(tmp_path, capsys, words, shown):
    code, _, said = command(capsys, str(recorded(tmp_path / "some", {})), *words)
    assert code == 2 and shown in said and len(said.splitlines()) == 1


def test_records_that_tell_nothing_are_one_line(tmp_path, capsys):
    recorded(tmp_path / "one_seed", random_arms(1))
    (tmp_path / "empty").mkdir()
    for place, shown in (
        ("absent", "there is no such folder"), ("empty", "holds no study.json"), ("one_seed", "no primary contrast"),
    ):  # fmt: skip
        code, _, said = command(capsys, str(tmp_path / place))
        assert code == 2 and shown in said and len(said.splitlines()) == 1
