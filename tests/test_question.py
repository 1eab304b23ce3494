"""A study is a declaration: any settings, checked before anything starts, registered before the first result."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from inspect import currentframe
from pathlib import Path
from random import random

import numpy as np
import pytest
from engine import play
from test_analysis import Builder
from test_architecture import imports

from analysis.recorded.registered import registered
from analysis.recorded.study import load
from analysis.sentences.predicted import predicted, prediction
from studies import (
    Arm,
    Contrast,
    Control,
    Reference,
    Show,
    Strata,
    Study,
    gate_validity,
    step2_grid,
    step2_rate,
    step2_schedule,
    step2_target,
    step2_variants,
    step3_crate,
    step4_tost,
)
from studies.command.options import as_arguments, as_words, parser
from studies.command.planning import make_plan
from studies.controls import CONTROLS
from studies.engine import parts, spaces, warm_start
from studies.engine.decisions import Decisions
from studies.engine.folder import agree
from studies.engine.job import Seen
from studies.engine.jobs import Jobs
from studies.engine.plan import Plan
from studies.engine.settings import Resources, SearchPlan, Stopping
from trainer.errors import UsageError
from trainer.record.registration import changed, registration

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = (
    step2_rate,
    step2_grid,
    step2_target,
    step2_schedule,
    step2_variants,
    step3_crate,
    step4_tost,
    gate_validity,
)


def space(trial):
    lr = trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    return {"optim.lr": lr, "optim.clip_norm": trial.suggest_float("clip_norm", 0.1, 10.0, log=True)}


def two_settings(**changes) -> Study:
    """A study of two settings that have nothing to do with those of step 2, without strata."""
    fields = {
        "name": "lr_clip", "question": "Does clipping help?", "space": space, "trials": 6, "controls": CONTROLS,
        "reference": Reference({"optim.clip_norm": None}, "unclipped"), "contrasts": lambda _: (Contrast("clipping",
        "best", "best/unclipped"),),
    }  # fmt: skip
    return Study(**{**fields, **changes})


def planned(folder: Path, study: Study) -> Plan:
    arms = study.fixed_arms(False)
    return Plan(
        study="s", folder=folder, preset="digits", overrides=[], seeds=(0, 1, 2), epochs=30, resources=Resources(1, 0,
            1, "local", 2), arms=arms,
        declared=study.declaration(arms), num_trials=study.trials, confirm=study.levels, ranges=study.ranges,
        search=SearchPlan(top_k=2),
        stopping=Stopping(grace=10, collapse_rank=0.0),
    )  # fmt: skip


def seen(job, epoch) -> Seen:
    score = (
        40
        + epoch
        - 1e3 * abs(job.overrides.get("optim.lr", 0.01) - 0.003)
        + (5 if job.overrides.get("optim.clip_norm") else 0)
    )
    return Seen(epoch, score, epoch, rank=10.0, objectives={"linacc": score, "r2_action": 0.5})


# --- the engine knows no setting


def test_no_engine_or_analysis_names_a_setting():
    files = [
        file
        for folder in ("studies/engine", "studies/executors", "analysis")
        for file in sorted((ROOT / folder).rglob("*.py"))
    ]
    named = [str(file) for file in files if re.search("teacher|lambda_rate|λ", file.read_text(encoding="utf-8"))]
    assert len(files) > 30 and not named


def test_the_engine_imports_neither_ray_nor_torch_nor_rich_nor_pandas():
    todo, seen_files = sorted((ROOT / "studies" / "engine").glob("*.py")), set()
    heavy = {"ray", "torch", "rich", "pandas"}
    while todo:
        file = todo.pop()
        if file in seen_files:
            continue
        seen_files.add(file)
        names = imports(file)
        if file.parent.name == "engine":
            assert not {name.partition(".")[0] for name in names} & heavy, file
            outside = {
                name
                for name in names
                if name.startswith(("studies.", "analysis", "search_spaces")) and not name.startswith("studies.engine")
            }
            assert not outside, (file, outside)
    command = (
        "import sys; from studies import Study; from studies.engine import question; print(*(set(sys.modules) & {'ray',"
        " 'torch', 'rich', 'pandas', 'optuna'}))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        == ""
    )


def test_a_search_over_other_settings_runs_compares_and_resumes(tmp_path):
    study = two_settings()
    plan = planned(tmp_path, study)
    play(Jobs(plan, Decisions(tmp_path), study), until=70, seen=seen)
    jobs = Jobs(plan, Decisions(tmp_path), study)
    play(jobs, seen=seen)
    jobs.comparison.write()
    assert jobs.done and len(jobs.search.trials) == 6
    (choice,) = jobs.decisions.of("select")
    assert len(choice["trials"]) == 2
    compared = {line["key"]: line for line in jobs.decisions.of("compare")}
    assert compared.keys() == {"shared", "untrained", "best", "best/unclipped", "candidate2"}
    best, twin = compared["best"], compared["best/unclipped"]
    assert (
        best["lr"] == twin["lr"]
        and best["clip_norm"] > 0
        and twin["clip_norm"] is None
        and best["reference"] == twin["arm_id"]
    )
    assert all(
        line["bracket"] == "all" and set(line["params"]) == {"lr", "clip_norm"} for line in jobs.decisions.of("suggest")
    )


def test_its_report_speaks_of_its_own_settings(tmp_path):
    made = Builder(tmp_path / "demo", declared=plain(two_settings()), confirm=["all"], num_trials=1)
    made.decide({"event": "suggest", "trial": 0, "run_id": "t0", "arm_id": "b", "params": {"lr": 0.003,
        "clip_norm": 1.0}, "label": "x"},
                {"event": "finish", "trial": 0, "state": "complete", "epoch": 6, "value": 60.0,
                    "objectives": {"linacc": 60.0}},
                {"event": "select", "trials": [0], "values": [60.0], "epochs": [6]})  # fmt: skip
    for arm_id, role, key, values, clip in (
        ("b", "best", "best", [60.0, 61.0, 62.0], 1.0),
        ("u", "unclipped", "best/unclipped", [50.0, 51.0, 51.5], None),
    ):
        runs = [made.run(f"{arm_id}-{seed}", value) for seed, value in enumerate(values)]
        who = {
            "key": key,
            "arm_id": arm_id,
            "role": role,
            "label": key,
            "lr": 0.003,
            "clip_norm": clip,
            "reference": "u" if role == "best" else None,
        }
        made.decide({"event": "compare", **who, "runs": runs, "seeds": [0, 1, 2]})
    study = load(made.folder)
    from analysis.page.facts import gather
    from analysis.page.figures import FIGURES
    from analysis.sentences.verdict import sentences
    from analysis.statistics.comparison_table import comparison_table

    table = comparison_table(study)
    assert table["arm"].tolist() == ["lr=0.003 clip_norm=1 (best)", "lr=0.003 (unclipped)"]
    assert table["lr"].tolist() == [0.003, 0.003] and table["verdict"].tolist() == ["better", "reference"]
    said = " ".join(sentences(study, table))
    assert (
        "Clipping: linear accuracy of z_agg of lr=0.003 clip_norm=1 (best) 61.0 against 50.8 percent of lr=0.003"
        " (unclipped), better" in said
    )
    assert len(FIGURES["search"].png(gather(study))) > 5000


def plain(study: Study) -> dict:
    from dataclasses import asdict

    return json.loads(json.dumps(asdict(study.declaration(study.fixed_arms(False)))))


# --- what is derived from the space


def test_what_was_written_twice_is_derived_as_it_was():
    """Earlier studies have these texts on record, and a warm start compares them."""
    assert step2_rate.STUDY.ranges == {
        "teacher": "stopgrad, ema",
        "lambda_rate": "0, or log-uniform 0.001 to 1",
        "schedule": "cosine, constant",
        "warmup_epochs": "uniform 0 to 6",
        "ema_half_life": "log-uniform 0.002 to 0.5 of all steps (ema only)",
    }
    assert len(step2_rate.STUDY.corners) == 8 and len(step2_rate.STUDY.grid_points()) == 36 + 180
    assert [point["teacher"] for point in step2_rate.STUDY.grid_points()[:4]] == ["stopgrad", "ema", "stopgrad", "ema"]


def test_a_space_is_walked_along_every_branch():
    def branching(trial):
        kind = trial.suggest_categorical("kind", ("a", "b", "c"))
        keys = {"k": kind, "n": trial.suggest_int("n", 1, 9)}
        return keys | ({"x": trial.suggest_float("x", 0.0, 2.0, step=0.5)} if kind != "b" else {})

    assert spaces.parameters(branching) == {
        "kind": "a, b, c",
        "n": "whole numbers 1 to 9",
        "x": "uniform 0 to 2 in steps of 0.5 (a, c only)",
    }
    assert [keys for _, keys in spaces.corners(branching)] == [
        {"k": "a", "n": 9, "x": 2.0}, {"k": "b", "n": 9}, {"k": "c", "n": 9, "x": 2.0}, {"k": "a", "n": 1, "x": 0.0},
        {"k": "b", "n": 1}, {"k": "c", "n": 1, "x": 0.0},
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no grid values for n"):
        spaces.grid(branching, {}, None)
    with pytest.raises(UsageError, match="more than 4096 branches"):
        spaces.parameters(lambda trial: {"k": [trial.suggest_categorical(f"c{n}", (0, 1)) for n in range(13)]})


@pytest.mark.parametrize("study", [module.STUDY for module in SHIPPED], ids=lambda study: study.name)
@pytest.mark.parametrize("quick", [False, True])
def test_the_studies_that_ship_plan_on_digits(study, quick, capsys, tmp_path):
    assert study.main(["--dry-run", "--results-dir", str(tmp_path), *(["--quick"] if quick else [])]) == 0
    assert "registered as " in capsys.readouterr().out


# --- wrong declarations


WRONG = {
    "unknown key": ({"space": lambda trial: {"optim.rate": trial.suggest_float("rate", 0.0, 1.0)}, "reference": None,
    "contrasts": lambda _: ()}, "optim.rate: unknown key"),
    "point does not build": ({"space": lambda trial: {"optim.lr": trial.suggest_float("lr", 0.0, 3.0)},
    "reference": None, "contrasts": lambda _: ()}, "optim.lr = 3.0"),
    "empty stratum": ({"space": lambda t: {**space(t), "schedule.name": t.suggest_categorical("shape", ("cosine",))},
    "strata": Strata("shape", ("cosine", "constant")),
                       "settings": {"shape": "schedule.name"}}, "level 'constant' is empty"),
    "no stratum in the space": ({"strata": Strata("shape", ("a",)), "settings": {"shape": "schedule.name"}},
    "the space does not choose it"),
    "reference equal to its arm": ({"reference": Reference({}, "unclipped")}, "is the same as the arm"),
    "metric nobody records": ({"metric": "linacc/zz"}, "no study records it"),
    "contrast's metric": ({"contrasts": lambda _: (Contrast("x", "best", "shared", "nothing"),)},
    "no study records it"),
    "contrast without arms": ({"contrasts": lambda _: (Contrast("x", "best/ema", "shared"),)}, "no arm 'best/ema'"),
    "contrast with itself": ({"contrasts": lambda _: (Contrast("x", "best", "best"),)}, "with itself"),
    **{f"label of {words}": ({"arms": lambda _, said=said: (Arm("a", "grid", said, {}),)}, f"arm 'a': {words}")
    for said, words in ((None, "label = None must be a text on one line"), ("x\ny", "label = 'x\\ny' must be a text"),
    (" ", "has no label"))},
    "settings that json has not": ({"arms": lambda _: (Arm("a", "grid", "a", {"optim.lr": Fraction(1, 1000)}),)},
    "arm 'a': overrides = {'optim.lr': Fraction(1, 1000)} must be a dict of configuration keys with plain numbers"),
    "settings of a point that json has not": ({"space": lambda t: {"optim.lr": t.suggest_int("n", 1, 9) * Fraction(1,
    1000)}, "reference": None, "contrasts": lambda _: ()}, "optim.lr = Fraction(9, 1000) is a Fraction"),
    "arm for a key": ({"contrasts": lambda arms: (Contrast("x", arms[0], "untrained"),)}, "contrast 'x': arm = Arm("),
    "words in words": ({"contrasts": lambda _: (Contrast("x", "best", "shared", words="yes"),)},
    "must be a dict of texts"),
    "words for no verdict": ({"contrasts": lambda _: (Contrast("x", "best", "shared", words={"yes": "so"}),)},
    "words for 'yes', which no verdict is; it is better, worse, not resolved"),
    "symbol of a number": ({"shown": {"lr": Show(3)}}, "shown 'lr': symbol = 3 must be a text"),
    "setting of nothing": ({"settings": {"lr": None}}, "must be a mapping of names to configuration keys"),
    "question on two lines": ({"question": "Does it\nhelp?"}, "must be a text on one line"),
    "arms of one label": ({"arms": lambda _: (Arm("a", "grid", "x", {}), Arm("b", "grid", "x", {"optim.lr": 0.1}))},
    "arm 'b': is labelled 'x' as 'a' is"),
    **{f"arm in the role {role}": ({"arms": lambda _, role=role: (Arm("a", role, "a", {}),)},
    f"role '{role}' is given by")
    for role in ("best", "candidate", "untrained")},
    **{f"reference in the role {role!r}": ({"reference": Reference({"optim.clip_norm": None}, role)},
    f"role '{role}' must be a word")
    for role in ("best", "", "a/b", "shared", "grid")},
    "space without a question": ({"space": lambda t: {"optim.clip_norm": 1.0}}, "asks its trial for nothing"),
    "space by chance": ({"space": lambda t: {"optim.lr": t.suggest_float("lr", 1e-4, 1e-3) * (1 + random())}},
    "at the same point {'lr': 0.001}; it must follow from its trial alone"),
    "arms by chance": ({"arms": lambda _: (Arm("a", "grid", "a", {"optim.lr": random() / 100}),)},
    "are others when asked for again"),
    "one name for two ranges": ({"space": lambda t: {"optim.lr": t.suggest_float("x", 1e-4, 1e-3), "optim.weight_decay":
    t.suggest_float("x", 1e-5, 1e-4)}},
    "x is asked for in uniform 0.0001 to 0.001 and again in uniform 1e-05 to 0.0001"),
    "level called otherwise": ({"space": lambda t: {**space(t), "schedule.name": t.suggest_categorical("shape", ("cos",
    )) + "ine"}, "strata": Strata("shape", ("cos",)), "settings": {"shape": "schedule.name"}},
    "strata 'shape': at 'cos' the space sets schedule.name = 'cosine'; a level is called as what it sets"),
    "level twice": ({"space": lambda t: {**space(t), "schedule.name": t.suggest_categorical("shape", ("cosine",))},
    "strata": Strata("shape", ("cosine", "cosine")), "settings": {"shape": "schedule.name"}},
    "'cosine' is named twice"),
    "contrast without a question": ({"contrasts": lambda _: (Contrast(" ", "best", "shared"),)}, "has no question"),
    "contrasts of one question": ({"contrasts": lambda _: (Contrast("x", "best", "shared"), Contrast("x", "best",
    "shared", "rank_pr/z@M"))}, "contrast 'x': is declared twice"),
    "contrast in both directions": ({"contrasts": lambda _: (Contrast("x", "best", "shared"), Contrast("y", "shared",
    "best"))}, "contrast 'y': compares the same as 'x'"),
    "contrast twice": ({"contrasts": lambda _: (Contrast("x", "best", "shared"), Contrast("y", "best", "shared"))},
    "contrast 'y': compares the same as 'x'"),
    "no question": ({"question": "Clipping."}, "must be a question"),
    "misspelt field": ({"trial": 3}, "trial: is no field of a study (did you mean trials?); it has name, question, "),
    "nothing to run": ({"space": None, "reference": None, "contrasts": lambda _: ()},
    "neither a search space nor arms"),
    "space fails": ({"space": lambda trial: {"optim.lr": trial.nothing}},
    f"and no nothing; correct line {currentframe().f_lineno - 1} of {__file__}"),
    "space returns nothing": ({"space": lambda trial: None}, "must return a dict"),
    "taken name": ({"settings": {"epoch": "optim.lr"}}, "setting 'epoch'"),
    "shown without setting": ({"shown": {"momentum": Show()}}, "shown 'momentum'"),
    "nothing eligible": ({"eligible": lambda point: point["lr"] > 1}, "accepts no corner"),
    "control that is not checked": ({"controls": (Control("c", "c", {"optim.lr": 0.1}, must="explode"),)},
    "must = 'explode'"),
    "untrained without a run": ({"controls": (Control("c", "c", {"optim.lr": 0.1}, must="start"),)}, "no arm has them"),
    "arm twice": ({"arms": lambda _: (Arm("a", "grid", "a", {}), Arm("a", "grid", "a", {"optim.lr": 0.1}))},
    "declared twice"),
    "arm's reference": ({"arms": lambda _: (Arm("a", "grid", "a", {}, "b"),)}, "is no arm"),
    "arm is its reference": ({"arms": lambda _: (Arm("a", "grid", "a", {}, "b"), Arm("b", "grid", "b", {}))},
    "is the same arm"),
    "arm is its reference after the preset": ({"arms": lambda _: (Arm("a", "grid", "a", {"optim.clip_norm": None},
    "b"), Arm("b", "grid", "b", {}))}, "its reference 'b' is the same arm"),
    "arm is its own reference": ({"arms": lambda _: (Arm("a", "grid", "a", {}, "a"),)}, "is its own reference"),
    "contrast of one arm": ({"arms": lambda _: (Arm("a", "grid", "a", {"optim.clip_norm": None}), Arm("b", "grid",
    "b", {})), "contrasts": lambda _: (Contrast("x", "a", "b"),)},
                            "contrast 'x': 'a' and 'b'"),
    "reference equal to its arm after the preset": ({"space": lambda trial: {"optim.lr": trial.suggest_float("lr",
    1e-4, 1e-2)}}, "is the same as the arm"),
    "reference does not build": ({"reference": Reference({"optim.clipp_norm": None}, "unclipped")},
    "optim.clipp_norm: unknown key"),
    "arm by its length": ({"arms": lambda _: (Arm("a", "grid", "a", {"epochs": 10}),),
    "settings": {"lr": "optim.lr"}}, "arm 'a': sets epochs, by which no arm differs"),
    "reference by its seed": ({"reference": Reference({"seed": 3}, "unclipped")}, "reference: sets seed"),
    "space of what is measured": ({"space": lambda t: {"eval.probe_epochs": [t.suggest_int("probe", 1, 2)]},
    "reference": None, "contrasts": lambda _: ()}, "the search space: sets eval.probe_epochs"),
    "parameter without use": ({"space": lambda trial: (trial.suggest_float("momentum", 0.0, 1.0), space(trial))[1]},
    "momentum (uniform 0 to 1) changes no setting"),
    "choice without use": ({"space": lambda trial: (trial.suggest_categorical("kind", ("a", "b")), space(trial))[1]},
    "kind (a, b) changes no setting"),
    "setting in all arms that the space sets": ({"overrides": ("optim.lr=0.5",)}, "this study sets optim.lr itself"),
    "seed in all arms": ({"overrides": ("seed=7",)}, "seed=7: a study sets this itself"),
    "contrasts as a list": ({"contrasts": [Contrast("x", "best", "shared")]}, "must be a function of the fixed arms"),
    "no contrasts": ({"contrasts": lambda _: None}, "contrasts: returns None; it must return a tuple of Contrast"),
    "contrasts fail": ({"contrasts": lambda arms: (arms[9],)}, "contrasts fails: IndexError"),
    "contrasts of something else": ({"contrasts": lambda _: ("best",)}, "contrasts: returns 'best' among others"),
    "arms as a tuple": ({"arms": (Arm("a", "grid", "a", {}),)}, "must be a function of whether the study is quick"),
    "arms that fill a screen": ({"arms": (Arm("a", "grid", "a", {}),) * 9}, "referenc...: must be a function"),
    "arms without an argument": ({"arms": lambda: ()}, "arms fails: TypeError"),
    "first points as a list": ({"first_points": [{"lr": 1e-3}]}, "must be a function without arguments"),
    "strata as a word": ({"strata": "teacher"}, "strata 'teacher': must be Strata(name, levels)"),
    "reference as a mapping": ({"reference": {"optim.clip_norm": None}}, "must be Reference(settings)"),
    "shown as a tuple": ({"shown": ("lr",)}, "must be a mapping of settings"),
    "shown as words": ({"shown": {"lr": "rate"}}, "must be a mapping of settings"),
    "one control": ({"controls": CONTROLS[0]}, "must be a tuple of Control"),
    "trials in words": ({"trials": "24"}, "trials '24': must be a whole number"),
    "overrides as a text": ({"overrides": "optim.lr=1"}, "must be a tuple of texts"),
    "grid of numbers": ({"grid": {"lr": 0.1}}, "must be a mapping of parameters to their values"),
    "eligible fails": ({"eligible": lambda point: point["teacher"] == "ema"}, "fails: KeyError: 'teacher'"),
    "label of one argument": ({"label": lambda point: "x"}, "fails: TypeError"),
    "label of nothing": ({"label": lambda point, steps: None}, "returns None; it must return a text"),
    "reference's label fails": ({"reference": Reference({"optim.clip_norm": None}, "unclipped",
    lambda label: label.split("?")[1])}, "the reference's label fails: IndexError"),
    "prediction at an epoch": ({"predicts": (10,)}, "must be shares of a run between 0 and 1"),
    "prediction without tuple": ({"predicts": 1 / 3}, "must be shares of a run"),
    "prediction without a search": ({"predicts": (0.5,), "space": None, "reference": None, "arms": lambda _: (Arm("a",
    "grid", "a", {}),), "contrasts": lambda _: ()}, "this study has no space"),
    "arm with a searched key": ({"arms": lambda _: (Arm("best", "grid", "a", {"optim.clip_norm": 1.0}),)},
    "arm 'best': best and candidate are the keys"),
    "control with a searched key": ({"controls": (Control("candidate2", "c", {"optim.clip_norm": 1.0}),),
    "contrasts": lambda _: ()}, "arm 'candidate2': best and candidate"),
    "default that no command gives": ({"defaults": {"sampler": "sobol"}},
    "defaults 'sampler': argument --sampler: invalid choice: 'sobol'"),
    "quick default of a wrong kind": ({"quick": {"num_trials": "many"}},
    "quick 'num_trials': argument --num-trials: invalid int value: 'many'"),
    "default of an override": ({"defaults": {"overrides": ("optim.lr=1",)}}, "defaults 'overrides': is no option"),
    "default that breaks a rule": ({"defaults": {"seeds": 0}}, "--seeds 0: the number of seeds must be 1 to 100"),
    **{f"range {name}": ({"space": lambda trial, ask=ask: {"optim.lr": ask(trial)}, "reference": None,
        "contrasts": lambda _: ()}, words) for name, (ask, words) in {
        "upside down": (lambda t: t.suggest_float("lr", 1e-2, 1e-4),
        "lr goes from 0.01 to 0.0001; the lower end must come first"),
        "log from 0": (lambda t: t.suggest_float("lr", 0, 1e-2, log=True), "lr is log-uniform from 0 on"),
        "log in steps": (lambda t: t.suggest_float("lr", 1e-4, 1e-2, log=True, step=1e-4),
        "lr is log-uniform in steps of 0.0001"),
        "log int in steps": (lambda t: t.suggest_int("lr", 1, 8, log=True, step=2), "lr is log-uniform in steps of 2"),
        "step of 0": (lambda t: t.suggest_float("lr", 1e-4, 1e-2, step=0.0), "lr has step = 0"),
        "in words": (lambda t: t.suggest_float("lr", "a", "b"), "lr has low = 'a'; it must be a number"),
        "int of floats": (lambda t: t.suggest_int("lr", 0.5, 2), "lr has low = 0.5; it must be a whole number"),
        "without choices": (lambda t: t.suggest_categorical("lr", []), "lr has no list of choices"),
        "choices as a text": (lambda t: t.suggest_categorical("lr", "abc"), "lr has no list of choices"),
        "choices that the record cannot hold": (lambda t: t.suggest_categorical("lr", [(1e-3, 1)])[0],
        "lr has the choice (0.001, 1); it must be a text, a number or None"),
        "asked by an old name": (lambda t: t.suggest_loguniform("lr", 1e-4, 1e-3), "and no suggest_loguniform"),
    }.items()},
    "first point's choice": ({"space": lambda t: {**space(t), "schedule.name": t.suggest_categorical("shape",
    ("cosine",))}, "first_points": lambda: [{"shape": "cosin"}]}, "shape = 'cosin' is not in cosine"),
    "first point's name": ({"first_points": lambda: [{"lrr": 1e-3}]},
    "'lrr' is no parameter of the space; it has lr, clip_norm"),
    "first point outside": ({"first_points": lambda: [{"lr": 1.0}]}, "lr = 1.0 is not in log-uniform 0.0001 to 0.01"),
    "grid outside": ({"grid": {"lr": (1e-3, 1.0)}}, "grid: lr = 1.0 is not in"),
    "grid without values": ({"grid": {"lr": ()}}, "grid 'lr': has (); give at least one value"),
    "grid value twice": ({"grid": {"lr": (1e-3, 1e-3)}}, "grid 'lr': has (0.001, 0.001); give"),
    "grid's name": ({"grid": {"weight_decay": (1e-3,)}}, "grid: 'weight_decay' is no parameter"),
    "grid of a choice": ({"space": lambda t: {**space(t), "schedule.name": t.suggest_categorical("shape", ("cosine",
    ))}, "grid": {"shape": ("cosine",)}}, "grid 'shape': is a choice"),
    "units of no parameter": ({"units": {"lrr": "per step"}},
    "units 'lrr': is no parameter of the space; it has lr, clip_norm"),
    "unknown default": ({"defaults": {"speed": 3}}, "defaults 'speed'"),
}  # fmt: skip


def test_a_study_is_declared_by_position_or_by_name_but_no_field_twice():
    assert Study("a", "Is it?", trials=3) == Study(question="Is it?", trials=3, name="a")
    for given, named in ((("a", "Is it?"), {"name": "b"}), (range(50), {})):
        with pytest.raises(TypeError):
            Study(*given, **named)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_declaration_is_one_line_before_anything_starts(wrong, tmp_path, capsys):
    changes, words = WRONG[wrong]
    assert two_settings(**changes).main(["--quick", "--results-dir", str(tmp_path)]) == 2
    out, said = capsys.readouterr()
    assert words in said and said.startswith("error: ") and said.count("\n") == 1 and not out
    assert not list(tmp_path.iterdir())


def test_a_step_ends_below_the_end_of_its_range():
    found = spaces.corners(
        lambda t: {"x": t.suggest_float("x", 0.0, 1.9, step=0.5), "n": t.suggest_int("n", 1, 6, step=2)}
    )
    assert [keys for _, keys in found] == [{"x": 1.5, "n": 5}, {"x": 0.0, "n": 1}]


def test_a_setting_of_several_values_is_a_text_that_the_record_can_hold():
    study = two_settings(space=lambda t: {"data.augment.crop_scale": [t.suggest_float("low", 0.1, 0.5), 1.0]})
    assert [study.params(keys) for keys in study.corners] == [
        {"crop_scale": "(0.5, 1.0)"},
        {"crop_scale": "(0.1, 1.0)"},
    ]


# --- defaults of a study


def test_a_study_s_defaults_are_read_as_a_command_has_them_and_give_way_to_one():
    study = two_settings(
        defaults={"seeds": 5, "epochs": 20, "deterministic": True, "results_dir": "there"},
        quick={"num_trials": 9, "epochs": 6},
    )
    usual, quick = (
        parser(study).parse_args([]),
        parser(study, quick=True).parse_args(["--quick", "--seeds", "4", "--num-trials", "7"]),
    )
    assert (usual.seeds, usual.epochs, usual.num_trials, usual.deterministic, usual.results_dir) == (
        "5",
        20,
        None,
        True,
        Path("there"),
    )
    assert (quick.seeds, quick.epochs, quick.num_trials, quick.deterministic) == ("4", 6, 7, True)
    assert info(study)["seeds"] == [0, 1, 2, 3, 4]
    told = " ".join(parser(study).format_help().split())
    assert "(default: 5)" in told and "(default: 20; 6 with --quick)" in told and "(default: 6; 9 with --quick)" in told


@pytest.mark.parametrize("study", [module.STUDY for module in SHIPPED], ids=lambda study: study.name)
def test_help_says_the_number_of_trials_that_quick_plans(study, tmp_path):
    told = re.search(
        r"search trials \(default: \d+; (\d+) with --quick\)", " ".join(parser(study).format_help().split())
    )
    assert (told and int(told[1])) == (info_quick(study, tmp_path)["num_trials"] or None)


def info_quick(study: Study, folder: Path) -> dict:
    return make_plan(parser(study, quick=True).parse_args(["--quick", "--results-dir", str(folder)]), study).stored()


# --- registered before the data


def info(study: Study, *words: str) -> dict:
    return json.loads(json.dumps(make_plan(parser(study).parse_args(list(words)), study).stored()))


def test_the_hash_follows_everything_that_is_registered_and_nothing_else():
    base = info(two_settings())
    other = {
        "question": info(two_settings(question="Does it?")),
        "metric": info(two_settings(metric="rank_pr/z@M")),
        "contrasts": info(two_settings(contrasts=lambda _: (Contrast("clipping", "best", "shared"),))),
        "seeds": info(two_settings(), "--seeds", "5"),
        "epochs": info(two_settings(), "--epochs", "20"),
        "stopping": info(two_settings(), "--eta", "2"),
        "race": info(two_settings(), "--race", "2"),
        "reference": info(two_settings(reference=Reference({"optim.clip_norm": 100.0}, "unclipped"))),
    }
    hashes = {registration(one)["hash"] for one in other.values()} | {registration(base)["hash"]}
    assert len(hashes) == 1 + len(other)
    same = (
        info(two_settings(), "--num-trials", "9"),
        info(two_settings(), "--retries", "5", "--budget-hours", "1"),
        base | {"created": "now"},
    )
    assert {registration(one)["hash"] for one in same} == {registration(base)["hash"]}


def test_the_verdict_carries_the_hash_and_says_what_changed(tmp_path):
    asked = {"declared": plain(two_settings()), "stopping": {"rule": "none"}}
    made = Builder(tmp_path / "demo", **asked)
    content = json.loads((made.folder / "study.json").read_text())
    begin = {"event": "begin", "cores": 1, "registration": registration(content)}
    assert registered(load(made.folder)) == []
    made.decide(begin, {"event": "tick"})
    (said,) = registered(load(made.folder))
    assert said.startswith(f"Registered before the first result as {registration(content)['hash']}")
    for part, changes in {
        "seeds": {"seeds": [1, 2]},
        "stopping": {"stopping": {"rule": "asha"}},
        "question": {"declared": asked["declared"] | {"question": "Else?"}},
        "reference": {"declared": asked["declared"] | {"reference_settings": [["optim.clip_norm", 100.0]]}},
    }.items():
        (made.folder / "study.json").write_text(json.dumps(content | changes))
        (said,) = registered(load(made.folder))
        assert said.startswith(f"CHANGED AFTER REGISTRATION: {part} differ"), said
    late = Builder(tmp_path / "late", **asked)
    late.decide({"event": "begin"}, {"event": "finish", "trial": None, "name": "x", "state": "complete"})
    assert registered(load(late.folder))[0].startswith("Not registered")
    late.decide(begin)
    assert "AFTER the first result" in registered(load(late.folder))[0]


def test_a_study_cannot_be_continued_with_another_declaration(tmp_path):
    def plan(study):
        made = planned(tmp_path / "s", study)
        made.folder.mkdir(exist_ok=True)
        return made

    agree(plan(two_settings()))
    Decisions(tmp_path / "s").append("start", name="x", trial=None)
    agree(plan(two_settings()))
    with pytest.raises(UsageError, match="declared.question"):
        agree(plan(two_settings(question="Another?")))
    content = json.loads((tmp_path / "s" / "study.json").read_text())
    kept = {name: content["declared"][name] for name in ("question", "contrasts")}
    kept["contrasts"] = [
        {name: one[name] for name in ("question", "arm", "reference", "metric")} for one in kept["contrasts"]
    ]
    (tmp_path / "s" / "study.json").write_text(
        json.dumps(content | {"declared": kept})
    )  # as before declarations were complete
    agree(plan(two_settings()))
    (tmp_path / "s" / "study.json").write_text(json.dumps(content | {"declared": kept}))
    with pytest.raises(UsageError, match="declared.contrasts"):
        agree(plan(two_settings(contrasts=lambda _: (Contrast("clipping", "best", "shared"),))))


def test_a_parameter_has_an_effect_wherever_it_has_one(tmp_path, capsys):
    def branching(trial):
        """Each parameter matters on one branch or at one end only, and one has a single value."""
        keys = {
            "schedule.name": trial.suggest_categorical("schedule", ("cosine", "constant")),
            "optim.lr": trial.suggest_float("lr", 1e-3, 1e-3),
        }
        strength, share = trial.suggest_float("strength", 0.0, 0.1), trial.suggest_float("share", 0.0, 1.0)
        if keys["schedule.name"] == "constant":
            return keys | {"schedule.final_lr_ratio": None, "optim.weight_decay": strength * share}
        return keys | {"schedule.warmup_epochs": trial.suggest_float("warmup_epochs", 0.0, 2.0)}

    study = two_settings(space=branching, reference=None, contrasts=lambda _: ())
    assert study.main(["--dry-run", "--results-dir", str(tmp_path)]) == 0, capsys.readouterr().err


# --- the trials of an earlier study


def earlier(folder: Path, **changes) -> Plan:
    """A finished study of one parameter ``x``."""
    study = one_number("x", **changes)
    plan = planned(folder, study)
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps({**plan.stored(), "created": "2026-01-01T00:00:00Z"}))
    play(
        Jobs(plan, Decisions(folder), study),
        seen=lambda job, epoch: Seen(epoch, 90.0, epoch, objectives={"linacc": 90.0}),
    )
    return plan


def one_number(name: str, key: str = "optim.lr", **changes) -> Study:
    space = lambda trial: {key: trial.suggest_float(name, 1e-4, 1e-2, log=True)}  # noqa: E731
    return Study(**{"name": "one", "question": "Does it?", "space": space, "trials": 3} | changes)


def test_a_warm_start_takes_no_trials_that_are_other_arms_here(tmp_path):
    earlier(tmp_path / "old")
    new = replace(planned(tmp_path / "new", one_number("x")), search=SearchPlan(warm_start=(str(tmp_path / "old"),)))
    warm_start.check(new, one_number("x"))
    with pytest.raises(UsageError, match="its trial 0 is arm .*, here the same point .* is "):
        warm_start.check(new, one_number("x", "optim.weight_decay"))
    with pytest.raises(UsageError, match="none of this space .KeyError: 'y'"):
        warm_start.check(new, one_number("y"))


def test_a_warm_start_speaks_of_its_trials_by_this_study_s_names(tmp_path):
    earlier(tmp_path / "old")
    study = one_number("x", settings={"rate": "optim.lr"}, label=lambda point, _: f"rate {point['rate']:g}")
    (tmp_path / "new").mkdir()
    plan = replace(
        planned(tmp_path / "new", study), search=SearchPlan(warm_start=(str(tmp_path / "old"),)), num_trials=1
    )
    decisions = Decisions(plan.folder)
    warm_start.absorb(plan, decisions)
    jobs = Jobs(plan, decisions, study)
    play(jobs, seen=lambda job, epoch: Seen(epoch, 10.0, epoch, objectives={"linacc": 10.0}))
    assert {one.label.split()[0] for one in jobs.search.ranking("all") if one.trial < 0} == {"rate"}


@pytest.mark.parametrize(
    "now, words",
    [
        ({"reference": Reference({"optim.clip_norm": None, "optim.weight_decay": 0.3}, "unclipped")},
        "declared.reference_settings"),
        ({"reference": Reference({"optim.clip_norm": 100.0}, "unclipped")}, "declared.reference_settings"),
        ({"space": lambda trial: {"optim.lr": trial.suggest_float("lr", 1e-4, 5e-2, log=True),
        "optim.clip_norm": trial.suggest_float("clip_norm", 0.1, 10.0, log=True)}}, "ranges.lr = "),
    ],
)  # fmt: skip
def test_a_continued_study_keeps_its_reference_and_its_ranges(tmp_path, now, words):
    def plan(study):
        return planned(tmp_path, study)

    agree(plan(two_settings()))
    Decisions(tmp_path).append("start", name="x", trial=None)
    agree(plan(two_settings()))
    content = json.loads((tmp_path / "study.json").read_text())
    with pytest.raises(UsageError, match=words):
        agree(plan(two_settings(**now)))
    (tmp_path / "study.json").write_text(
        json.dumps(content | {"ranges": {**content["ranges"], "momentum": "uniform 0 to 1"}})
    )
    with pytest.raises(UsageError, match="ranges.momentum = 'uniform 0 to 1', not None"):
        agree(plan(two_settings()))
    earlier_code = {name: value for name, value in content.items() if name != "ranges"}
    earlier_code["declared"] = {
        name: value for name, value in content["declared"].items() if name != "reference_settings"
    }
    (tmp_path / "study.json").write_text(json.dumps(earlier_code))  # it noted neither
    agree(plan(two_settings()))


def test_a_registration_of_earlier_code_knows_no_settings_of_its_reference():
    now = registration({"declared": plain(two_settings())})
    before = registration(
        {"declared": {name: value for name, value in plain(two_settings()).items() if name != "reference_settings"}}
    )
    assert "reference" not in before and before["hash"] != now["hash"]
    assert changed(before, now) == [] and changed(now, before) == ["reference"]
    assert changed({**now, "hash": before["hash"]}, now) == ["the registration itself"]


# --- directions, several keys, predictions


def test_of_a_loss_less_is_better(tmp_path):
    from analysis.statistics.differences import differences

    def verdict(metric):
        study = two_settings(contrasts=lambda _: (Contrast("clipping", "best", "best/unclipped", metric),))
        made = Builder(tmp_path / metric.replace("/", "_"), declared=plain(study), confirm=["all"])
        for arm_id, role, key, up in (("b", "best", "best", 3.0), ("u", "unclipped", "best/unclipped", 0.0)):
            runs = [made.run(f"{arm_id}-{seed}", 50.0 + up + seed / 10) for seed in range(3)]
            for run in runs:
                path = made.folder / "runs" / run / "records.jsonl"
                path.write_text(
                    path.read_text().replace(
                        '"predict/z_hat@3": 0.1', f'"predict/z_hat@3": {0.1 + up + len(path.read_text()) * 1e-9}'
                    )
                )
            who = {
                "key": key,
                "arm_id": arm_id,
                "role": role,
                "label": key,
                "reference": "u" if role == "best" else None,
            }
            made.decide({"event": "compare", **who, "runs": runs, "seeds": [0, 1, 2]})
        found = differences(load(made.folder))
        return found.loc[found["primary"], "verdict"].tolist()

    assert verdict("linacc/z_agg@M") == ["better"] and verdict("predict/z_hat@M") == ["worse"]


def test_one_reference_may_serve_several_levels(tmp_path):
    from analysis.statistics.differences import differences

    made = Builder(tmp_path / "demo", declared=plain(step2_target.STUDY), confirm=list(step2_target.TARGETS))
    for target in step2_target.TARGETS:
        made.arm(f"{target}1", "best", target, 0.1, [60.0, 61.0, 62.5], "none0", 61.0)
    made.arm("none0", "lambda0", "agg", 0.0, [50.0, 51.0, 52.0])
    lines = made.decided()
    (made.folder / "decisions.jsonl").unlink()
    for line in lines:
        target = line.pop("teacher")
        keys = [f"best/{target}"] if line["role"] == "best" else [f"best/{one}/lambda0" for one in step2_target.TARGETS]
        made.decide(*({**line, "key": key, "target": target} for key in keys))
    found = differences(load(made.folder))
    assert found["primary"].sum() == 5 and found.loc[found["primary"], "reference"].tolist()[:3] == ["agg λ=0"] * 3


def test_an_earlier_epoch_is_set_against_the_end(tmp_path):
    declared = plain(replace(gate_validity.STUDY, predicts=())) | {"predicts": [3]}
    made = Builder(tmp_path / "demo", declared=declared, confirm=["stopgrad", "ema"], num_trials=6)
    for number, value in enumerate((50.0, 52.0, 55.0, 58.0, 60.0, 70.0)):
        made.trial(number, "ema", 0.1, value)
        made.run(f"t{number}", value)
    path = made.folder / "runs" / "t5" / "records.jsonl"  # the best of the end was the worst at epoch 3
    path.write_text(path.read_text().replace('"linacc/z_agg@3": 60.0', '"linacc/z_agg@3": 10.0'))
    study = load(made.folder)
    (row,) = prediction(study).to_dict("records")
    # ranks 2 3 4 5 6 1 against 1..6: 1 - 6 * (5 * 1 + 25) / (6 * 35)
    assert (
        row["n"] == 6
        and row["correlation"] == pytest.approx(1 - 6 * 30 / 210)
        and row["regret"] == pytest.approx(10.0)
        and not row["kept"]
    )
    assert row["low"] < row["correlation"] < row["high"]
    assert "loses 10.0 points at the end" in predicted(study)[0]


# --- from Python


def test_options_of_a_call_are_those_of_the_command_line():
    found = [
        word
        for name, value in {
            "quick": True,
            "resume": False,
            "seeds": (0, 4),
            "num_trials": 8,
            "budget_hours": None,
        }.items()
        for word in as_words(name, value)
    ]
    assert found == ["--quick", "--seeds", "0,4", "--num-trials", "8"]
    assert as_words("seeds", (3,)) == ["--seeds", "3,"] and as_words("warm_start", ["a", "b"]) == [
        "--warm-start",
        "a",
        "--warm-start",
        "b",
    ]
    with pytest.raises(UsageError, match="only an option of the command line"):
        as_words("help", True)
    assert as_words("seeds", np.arange(2)) == ["--seeds", "0,1"] and as_words("quick", np.bool_(False)) == []


@pytest.mark.parametrize(
    "said, as_call",
    [
        ("add --resume, or choose another --study name", "add resume=True, or choose another study name"),
        ("--num-trials 5: can only grow", "num_trials=5: can only grow"),
        ("the same command with --resume continues", "the same call with resume=True continues"),
        ("python -m studies doctor --address a --dashboard; or --live", None),
        ("start one with: ray start --head", "start one with: ray start --head"),
        (
            "unknown option '--hang-minute' (did you mean --hang-minutes?); see python mine.py --help",
            "unknown option 'hang_minute' (did you mean hang_minutes?); study.main(['--help']) lists them all",
        ),
    ],
)
def test_a_message_names_options_as_the_call_takes_them(said, as_call):
    """In a notebook there is no command line to add an option to."""
    as_call = as_call or said.replace("--live", "live=True")
    assert as_arguments(said, two_settings()) == as_call


@pytest.mark.parametrize(
    ("overrides", "options", "said"),
    [
        ((), {"num_trials": 0}, "num_trials=0: must be at least 1"),
        ((), {"sead": 3}, "unknown option 'sead'"),
        ((), {"quick": "yes"}, "quick='yes': is on or off; give True or False"),
        ((), {"epochs": False}, "epochs=False: takes a value; give one, or leave epochs out"),
        ((), {"seeds": [-1, 2]}, "seeds='-1,2': give a number of seeds"),
        ((), {"optim.lr": 0.1}, "optim.lr=0.1: is no option; a setting is given as text, 'optim.lr=0.1'"),
        ((("optim.lr", 0.1),), {}, "override ('optim.lr', 0.1): a setting is given as text"),
        ((None,), {}, "override None: a setting is given as text"),
    ],
)
def test_a_call_that_is_refused_speaks_of_its_arguments(tmp_path, overrides, options, said):
    with pytest.raises(UsageError) as refused:
        two_settings().run(*overrides, **options, results_dir=tmp_path)
    assert str(refused.value).startswith(said)


def test_a_call_takes_a_folder_as_a_path():
    assert (
        as_words("warm_start", Path("results/a"))
        == ["--warm-start", "results/a"]
        == as_words("warm_start", "results/a")
    )
    assert as_words("warm_start", [Path("a"), "b"]) == ["--warm-start", "a", "--warm-start", "b"]


def test_a_dry_run_from_python_prints_the_plan_and_returns_nothing(tmp_path, capsys):
    assert two_settings().run(dry_run=True, quick=True, executor="process", results_dir=tmp_path) is None
    assert capsys.readouterr().out.startswith("study      lr_clip_digits_quick") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [module.__name__.rpartition(".")[2] for module in SHIPPED])
@pytest.mark.parametrize("preset", ["cifar100_aug_gate", "cifar10_rot", "mini3d_rot"])
def test_the_studies_that_ship_take_presets_of_other_data(name, preset, tmp_path, capsys):
    """A preset may say of a schedule's or a teacher's part what an arm does not have."""
    study = importlib.import_module(f"studies.{name}").STUDY
    words = ["--preset", preset, "--dry-run", "--results-dir", str(tmp_path)]
    assert study.main(words) == 0, capsys.readouterr().err


def test_spaces_that_do_not_break_are_no_end_of_a_line():
    assert parts.line("λ\u00a0=\u202f0.1, 学习率") and not any(map(parts.line, ("a\nb", "a\u2028b", "a\tb", None)))
