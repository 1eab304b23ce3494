"""Settings that a study names or shows: none may break its search or its report after everything has run."""

from __future__ import annotations

import pytest
from engine import play
from rich.console import Console
from test_analysis import Builder
from test_question import plain, planned, seen, two_settings

from analysis.recorded.declared import declared
from analysis.recorded.study import load
from analysis.report import report
from analysis.statistics.comparison_table import _columns, comparison_table
from studies import Arm, Contrast, Reference, Show, Strata, Study
from studies.engine.decisions import Decisions
from studies.engine.jobs import Jobs
from trainer.errors import UsageError


def by_teacher(**changes) -> Study:
    fields = {
        "name": "teachers", "question": "Which teacher?", "trials": 4, "strata": Strata("teacher", ("ema", "stopgrad")),
        "space": lambda trial: {
            "objective.teacher": trial.suggest_categorical("teacher", ("ema", "stopgrad")),
            "objective.weights.rate": trial.suggest_float("lam", 1e-3, 0.1, log=True),
        },
        "settings": {"teacher": "objective.teacher", "lam": "objective.weights.rate"},
        "contrasts": lambda _: (Contrast("ema minus stopgrad", "best/ema", "best/stopgrad"),),
    }  # fmt: skip
    return Study(**{**fields, **changes})


def test_the_levels_are_shown_whatever_else_is(tmp_path):
    study = by_teacher(shown={"lam": Show("λ")})
    plan = planned(tmp_path, study)
    jobs = Jobs(plan, Decisions(tmp_path), study)
    play(jobs, seen=seen)
    jobs.comparison.write()
    assert [column.name for column in plan.declared.columns] == ["teacher", "lam"]
    assert {line["teacher"] for line in jobs.decisions.of("compare")} == {
        "ema",
        "stopgrad",
    }
    kept = by_teacher(shown={"lam": Show("λ"), "teacher": Show()}).declaration(())
    assert [column.name for column in kept.columns] == ["lam", "teacher"]


def test_levels_may_be_those_of_two_settings_together(tmp_path):
    """Each pair is searched for itself, and is a word on record."""
    levels = ("ema cosine", "stopgrad cosine", "stopgrad constant")

    def space(trial):
        teacher, schedule = trial.suggest_categorical("pair", levels).split()
        rate = {"schedule.final_lr_ratio": None} if schedule == "constant" else {}
        lam = trial.suggest_float("lam", 1e-3, 0.1, log=True)
        return {"objective.teacher": teacher, "schedule.name": schedule, "objective.weights.rate": lam, **rate}

    settings = {"pair": "objective.teacher + schedule.name", "lam": "objective.weights.rate"}
    study = by_teacher(
        space=space, settings=settings, strata=Strata("pair", levels), trials=6,
        contrasts=lambda _: (Contrast("one minus other", "best/ema cosine", "best/stopgrad constant"),),
    )  # fmt: skip
    jobs = Jobs(planned(tmp_path, study), Decisions(tmp_path), study)
    play(jobs, seen=seen)
    jobs.comparison.write()
    trials = [line["params"]["pair"] for line in jobs.decisions.of("suggest")]
    assert [trials.count(level) for level in levels] == [2, 2, 2]
    assert [line["pair"] for line in jobs.decisions.of("compare") if line["role"] == "best"] == list(levels)


def test_a_setting_whose_key_nothing_sets_is_refused():
    wrong = {"settings": {"teacher": "objective.teacher", "lam": "objective.weights.rat"}}
    with pytest.raises(
        UsageError,
        match=r"settings 'lam': .* sets 'objective.weights.rat'; they set objective.teacher",
    ):
        by_teacher(**wrong).declaration(())
    wrong = {"settings": {"teacher": "objective.teach", "lam": "objective.weights.rate"}}
    with pytest.raises(UsageError, match="strata 'teacher': the space sets no objective.teach in"):
        by_teacher(**wrong).declaration(())
    by_reference = two_settings(
        reference=Reference({"optim.weight_decay": 0.0}, "undecayed"),
        settings={"lr": "optim.lr", "decay": "optim.weight_decay"}, contrasts=lambda _: (),
    )  # fmt: skip
    by_reference.declaration(by_reference.fixed_arms(False))


def test_every_point_has_a_level():
    def space(trial):
        level = trial.suggest_categorical("teacher", ("ema", "stopgrad"))
        keys = {"optim.lr": trial.suggest_float("lr", 1e-4, 1e-2)}
        return keys | ({"objective.teacher": level} if level == "ema" else {})

    with pytest.raises(
        UsageError,
        match="strata 'teacher': the space sets no objective.teacher in .*'optim.lr'",
    ):
        by_teacher(space=space, settings={"teacher": "objective.teacher", "lr": "optim.lr"}).declaration(())


@pytest.mark.parametrize(
    "metric",
    ["linacc/z_agg@M", "rankme/z@M", "linacc/z_agg@1", "r2_action.none/z_pair@2"],
)
def test_no_setting_may_be_called_like_a_column_of_the_table(metric):
    own = {"lr", "clip_norm"}
    asked = declared({"declared": plain(two_settings(metric=metric))}, (), "here")
    taken = [name for name in _columns(asked, ["none", "feature_std"]) if name not in own]
    assert len(taken) > 50
    for name in taken:
        with pytest.raises(UsageError, match="means something else in the record"):
            two_settings(settings={name: "optim.lr"}).declaration(())


@pytest.mark.parametrize("name", ["lr_epoch", "lr_n", "lr_mean", "lr_half", "learning_rate"])
def test_a_setting_may_end_like_a_column(name, tmp_path):
    study = two_settings(
        space=None, reference=None, controls=(), settings={name: "optim.lr"}, contrasts=lambda _: (),
        arms=lambda _: (Arm("a", "grid", "a", {"optim.lr": 0.0015}), Arm("b", "grid", "b", {"optim.lr": 0.025})),
    )  # fmt: skip
    made = Builder(tmp_path / "demo", declared=plain(study))
    for key, lr in (("a", 0.0015), ("b", 0.025)):
        runs = [made.run(f"{key}-{seed}", 60.0 + seed) for seed in range(3)]
        made.decide({"event": "compare", "key": key, "arm_id": key, "role": "grid", "label": key, name: lr,
            "runs": runs, "seeds": [0, 1, 2]})  # fmt: skip
    table = comparison_table(load(made.folder))
    assert table[name].tolist() == [0.0015, 0.025] and table["linacc_z_agg_n"].dtype == "Int64"
    report(made.folder, Console(quiet=True))
