"""No verdict word where nothing differs: null studies through the functions that make the report's words."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats
from test_analysis import Builder

from analysis.recorded.declared import declared
from analysis.recorded.study import load
from analysis.rendering import render
from analysis.sentences.bill import costs
from analysis.sentences.confirmation import confirmation
from analysis.sentences.verdict import sentences
from analysis.statistics.comparison_table import comparison_table
from analysis.statistics.cost import cost
from analysis.statistics.differences import differences
from analysis.statistics.family import BETTER, NO_VERDICT, NOT_RESOLVED, WORSE, decide
from analysis.statistics.paired import paired
from studies import step2_grid, step2_rate
from studies.controls import CONTROLS
from studies.engine import contrasts
from trainer.errors import UsageError

STUDIES = {one.STUDY.name: one.STUDY.declaration(one.STUDY.fixed_arms(False)) for one in (step2_rate, step2_grid)}
WORDS = re.compile(
    r"\b(better|worse|higher|lower|beats?|repairs collapse here|does not repair|improves?|did not hold)\b",
    re.IGNORECASE,
)
NULLS = 2000


def noise(shape: str, random: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """(studies, arms, seeds) without any difference between arms."""
    if shape == "t3":
        return random.standard_t(3, size)
    drawn = random.standard_normal(size)
    # each arm with a spread of its own, some ten times that of others
    return drawn * 10 ** random.uniform(-0.5, 0.5, (*size[:2], 1)) if shape == "unequal variances" else drawn


def decided(declaration: contrasts.Declaration, values: np.ndarray, step: float = 0.0) -> list[str]:
    """Verdicts of one study from (arms, seeds), as ``differences`` makes them."""
    keys = sorted({key for one in declaration.contrasts for key in (one.arm, one.reference)})
    by_key = {key: dict(enumerate(map(float, row))) for key, row in zip(keys, values, strict=True)}
    return [
        one.verdict
        for one in decide([paired(by_key[one.arm], by_key[one.reference], step) for one in declaration.contrasts])
    ]


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("shape", ["normal", "t3", "unequal variances"])
@pytest.mark.parametrize("seeds", [3, 5])
def test_any_verdict_word_in_at_most_5_percent_of_null_studies(study, shape, seeds):
    declaration = STUDIES[study]
    arms = len({key for one in declaration.contrasts for key in (one.arm, one.reference)})
    drawn = noise(shape, np.random.default_rng([seeds, *shape.encode(), len(study)]), (NULLS, arms, seeds))
    said = sum(bool({BETTER, WORSE} & set(decided(declaration, values))) for values in 60 + 2 * drawn)
    assert said / NULLS <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / NULLS)
    assert said > 0, "a rule that never speaks would pass too"


@pytest.mark.parametrize("seeds", [3, 4, 5])
def test_an_accuracy_in_steps_makes_no_words_out_of_rounding(seeds):
    """Noise of a fifth of a step around a rounding boundary: equal values on every seed are not a certainty."""
    declaration, step = STUDIES["step2_rate"], 100 / 300
    drawn = np.random.default_rng(seeds).normal(180.5, 0.2, (NULLS, 4, seeds))
    rounded = np.round(drawn) * step
    said = [bool({BETTER, WORSE} & set(decided(declaration, values, step))) for values in rounded]
    assert sum(said) / NULLS <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / NULLS)
    # without the floor the same studies are certain of differences that are not there
    blind = [
        min(paired(*[dict(enumerate(row)) for row in values[:2]], 1e-12).p for _ in (0,)) < 1e-9 for values in rounded
    ]
    same = [bool((values[0] == values[1]).all()) for values in rounded]
    assert sum(b and not s for b, s in zip(blind, same, strict=True)) / NULLS > (0.02 if seeds == 3 else 0.0)


def test_the_studys_own_resolution_reaches_its_contrasts(tmp_path):
    """Three seeds that agree to the last step: their spread is half a step, not none."""
    noted = {"question": "Q?", "contrasts": [vars(contrasts.Contrast("rate", "best/ema", "best/ema/lambda0"))]}
    noted["contrasts"][0]["metric"] = "linacc/z_agg@M"
    made = Builder(tmp_path / "demo", declared=noted)
    made.arm("e0", "lambda0", "ema", 0.0, [50.0, 50.5, 51.0])
    made.arm("e1", "best", "ema", 0.1, [50.5, 51.0, 51.5], "e0", 61.0)
    study = load(made.folder)
    (found,) = differences(study).query("primary").to_dict("records")
    step = study.step("linacc/z_agg@M")
    assert found["sd"] == 0 and step > 0
    half = stats.t.isf(0.025, 2) * step / 2 / math.sqrt(3)
    assert found["adjusted_high"] - found["mean"] == pytest.approx(half)


def test_words_follow_holms_rule():
    """0.01, 0.03 and 0.04: the first is resolved at 0.05 / 3, the second is not at 0.05 / 2, and there the steps
    end."""

    def of(p: float):
        from scipy import stats

        t = stats.t.isf(p / 2, 3)
        spread = np.array([-1.0, -1.0, 1.0, 1.0])
        values = spread + t * spread.std(ddof=1) / 2
        return paired(dict(enumerate(values)), dict.fromkeys(range(4), 0.0))

    found = decide([of(0.04), of(0.01), of(0.03)])
    assert [one.verdict for one in found] == [NOT_RESOLVED, BETTER, NOT_RESOLVED]
    assert [one.p_holm for one in found] == pytest.approx([0.06, 0.03, 0.06])
    assert [one.level for one in found] == pytest.approx([0.025, 0.05 / 3, 0.025])
    for one in found:  # the printed interval and the word never contradict each other
        assert (one.low > 0 or one.high < 0) == (one.verdict != NOT_RESOLVED)
        assert one.resolvable == pytest.approx((one.high - one.low) / 2)
    # a contrast that could not be run counts all the same
    assert decide([of(0.02), None, None])[0].verdict == NOT_RESOLVED and decide([of(0.02)])[0].verdict == BETTER
    assert decide([of(0.02), None])[1].verdict == NO_VERDICT


def on_disk(folder, study: str, seeds: int, random: np.random.Generator):
    """A study without any difference, recorded as the product records it: everything its report can speak about is
    there."""

    def drawn() -> list[float]:
        return [round(float(value) * 3) / 3 for value in random.normal(60, 2, seeds)]

    declaration = STUDIES[study]
    noted = {"question": declaration.question, "contrasts": [vars(one) for one in declaration.contrasts]}
    if study == "step2_rate":
        made = Builder(folder, declared=noted, confirm=["stopgrad", "ema"], num_trials=4)
        for number, teacher in enumerate(("stopgrad", "ema")):
            made.trial(2 * number, teacher, 0.1, 61.0, arm_id=f"{teacher}b")
            made.trial(2 * number + 1, teacher, 0.3, 60.0, arm_id=f"{teacher}c")
            choice = {"trials": [2 * number, 2 * number + 1], "values": [61.0, 60.0], "epochs": [6, 6]}
            made.decide({"event": "select", "teacher": teacher, **choice})
            made.arm(f"{teacher}0", "lambda0", teacher, 0.0, drawn(), rank=1.5 + number)
            made.arm(f"{teacher}b", "best", teacher, 0.1, drawn(), f"{teacher}0", 61.0, place=1)
            made.arm(f"{teacher}c", "candidate", teacher, 0.3, drawn(), f"{teacher}b", 60.0, place=2)
        made.arm("sh", "shared", "shared", 0.0, drawn(), reference="stopgrad0", rank=1.0)
    else:
        arms = step2_grid.STUDY.fixed_arms(False)
        stored = [{"key": arm.key, "role": arm.role, "label": arm.label} for arm in arms]
        made = Builder(folder, declared=noted, arms=stored)
        for arm in arms[:-2]:
            made.arm(arm.key, arm.role, arm.key.split("/")[0], arm.overrides["objective.weights.rate"], drawn(),
                arm.reference,
                     label=arm.label, peer=arm.peer)  # fmt: skip
        made.arm("shared", "shared", "shared", 0.0, drawn(), rank=1.0)
    made.arm("none", "untrained", "stopgrad", 0.0, drawn(), rank=10.0)
    return load(made.folder)


def everything_said(study) -> str:
    """Every text of the report: sentences, tables, and what the study took."""
    table, found, spent = comparison_table(study), differences(study), cost(study)
    sheets = render.sheets(table, found, confirmation(study))
    cells = [" ".join(row) for sheet in sheets for row in sheet.rows]
    return "\n".join([*cells, *sentences(study, table, spent), *costs(study, table, spent)])


@pytest.mark.parametrize("study", STUDIES)
def test_whole_reports_of_null_studies_hold_no_verdict_word(tmp_path, study):
    random = np.random.default_rng(len(study))
    spoke = 0
    for number in range(16):
        found = on_disk(tmp_path / f"{study}{number}", study, 3 + number % 3, random)
        of_family = differences(found)
        assert of_family["primary"].sum() == len(STUDIES[study].contrasts)
        said = set(of_family["verdict"]) & {BETTER, WORSE}
        text = everything_said(found)
        assert "exploratory" in text and bool(WORDS.search(text)) == bool(said), WORDS.findall(text)
        for line in text.splitlines():  # what could have been resolved stands beside each
            assert line.count("includes 0; ") == line.count("would have been resolved")
        spoke += bool(said)
    assert spoke <= 4  # more has a probability below 0.1 % at 5 %


def test_exploratory_contrasts_stay_silent_however_clear(tmp_path):
    """Only what was declared is answered, here the rate for one teacher; ranks, controls, candidates and the other
    teacher are not."""
    noted = {
        "question": "Q?",
        "contrasts": [vars(contrasts.Contrast("rate", "best/ema", "best/ema/lambda0").measured("linacc/z_agg@M"))],
    }
    made = Builder(tmp_path / "demo", declared=noted)
    for teacher, up in (("stopgrad", 20.0), ("ema", 0.5)):
        made.arm(f"{teacher}0", "lambda0", teacher, 0.0, [50.0, 51.0, 52.0, 51.5], rank=1.0)
        made.arm(
            f"{teacher}1",
            "best",
            teacher,
            0.1,
            [50.0 + up, 51.2 + up, 52.0 + up, 51.0 + up],
            f"{teacher}0",
            60.0,
            place=1,
        )
        made.arm(f"{teacher}2", "candidate", teacher, 0.2, [20.0, 21.0, 22.0, 21.5], f"{teacher}1", 60.0, place=2)
    made.arm("sh", "shared", "shared", 0.0, [10.0, 11.0, 10.5, 10.2], reference="stopgrad0", rank=1.0)
    study = load(made.folder)
    found = differences(study)
    assert found["verdict"].tolist().count("exploratory") == len(found) - 1
    assert (found["low"] > 0).any() and (found["high"] < 0).any()
    assert not WORDS.search(everything_said(study)), WORDS.findall(everything_said(study))


def test_a_declared_contrast_that_was_not_run_keeps_its_place_in_the_family(tmp_path):
    """What was declared does not shrink to what was found: the one that was run is decided at 0.05 / 3."""
    asked = [vars(contrasts.Contrast(key, f"best/{key}", "best/ema/lambda0")) for key in ("ema", "stopgrad", "other")]
    asked = [{**one, "metric": "linacc/z_agg@M"} for one in asked]
    made = Builder(tmp_path / "demo", declared={"question": "Q?", "contrasts": asked})
    made.arm("e0", "lambda0", "ema", 0.0, [50.0, 51.0, 52.0])
    made.arm("e1", "best", "ema", 0.1, [60.0, 62.0, 61.5], "e0", 61.0)
    (decided,) = differences(load(made.folder)).query("primary").to_dict("records")
    assert decided["level"] == pytest.approx(0.05 / 3) and decided["p_holm"] == pytest.approx(3 * decided["p"])


def test_old_records_get_the_rule_of_their_study():
    """Without a declaration in study.json the words follow what the study declares today."""

    def now(study, quick=False):
        asked = json.loads(json.dumps(asdict(study.STUDY.declaration(study.STUDY.fixed_arms(quick)))))
        # their tables stay as they were: the metrics shown beside the study's own came later
        return replace(declared({"declared": asked}, (), "study.json"), also=())

    assert (
        declared({"confirm": ["stopgrad", "ema"]}, (), "study.json")
        == declared({}, {"best", "lambda0"}, "study.json")
        == now(step2_rate)
    )
    alone = declared({"confirm": ["ema"]}, (), "study.json")
    assert [one.question for one in alone.contrasts] == ["coding rate, ema"]
    for quick in (True, False):
        arms = step2_grid.STUDY.fixed_arms(quick)
        assert declared({"arms": [vars(arm) for arm in arms]}, {"grid", "lambda0"}, "study.json") == now(
            step2_grid, quick
        )
    of_none = declared({}, {"grid"}, "study.json")
    assert (of_none.question, of_none.contrasts) == ("", ())


@pytest.mark.parametrize(
    "noted", [3, [], {}, {"question": "Q"}, {"question": "Q", "contrasts": [{}]}, {"question": "Q", "contrasts": 1}]
)
def test_a_damaged_declaration_names_the_file(tmp_path, noted):
    folder = Builder(tmp_path / "demo", declared=noted).folder
    with pytest.raises(UsageError, match="study.json"):
        load(folder)


def test_few_contrasts_are_declared_and_checked():
    assert len(STUDIES["step2_rate"].contrasts) <= 3 and len(STUDIES["step2_grid"].contrasts) <= 6
    keys = [control.key for control in CONTROLS]
    STUDIES["step2_rate"].check(keys, ("stopgrad", "ema"))
    for quick in (True, False):
        arms = step2_grid.STUDY.fixed_arms(quick)
        step2_grid.STUDY.declaration(arms).check([arm.key for arm in arms], ())
    with pytest.raises(UsageError, match="no arm 'best/ema'"):
        STUDIES["step2_rate"].check(keys, ("stopgrad",))
    one = contrasts.Contrast("shared", "shared", "untrained")
    with pytest.raises(UsageError, match="at most 6"):
        contrasts.Declaration("Q?", (one,) * 7).check(keys, ())
    with pytest.raises(UsageError, match="with itself"):
        contrasts.Declaration("Q?", (contrasts.Contrast("x", "shared", "shared"),)).check(keys, ())


def test_two_contrasts_in_the_same_words_each_say_their_own_numbers(tmp_path):
    """No study can declare them any more; those begun by earlier code are on record."""
    of = {"arm": "best/ema", "reference": "best/ema/lambda0"}
    asked = [{"question": "rate", **of, "metric": "linacc/z_agg@M"}, {"question": "rate", **of,
        "metric": "rank_pr/z_agg@M", "measures": "effective rank", "unit": ""},
             {"question": "", **of, "metric": "rank_pr/z@M"}]  # fmt: skip
    made = Builder(
        tmp_path / "demo",
        confirm=["ema"],
        declared=json.loads(json.dumps(asdict(STUDIES["step2_rate"]))) | {"contrasts": asked},
    )
    made.arm("b", "best", "ema", 0.1, [60.0, 61.0, 62.5], "r", 61.0)
    made.arm("r", "lambda0", "ema", 0.0, [50.0, 51.0, 52.0])
    study = load(made.folder)
    said = [line for line in sentences(study, comparison_table(study)) if line.startswith(("Rate:", "Best/ema minus"))]
    assert len(said) == 3 and "61.2 against 51.0 percent" in said[0]
    assert "ffective rank of" in said[1] and "61.2" not in said[1] and "61.2" not in said[2]
