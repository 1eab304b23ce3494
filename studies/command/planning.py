"""From the options of a command to the study's plan, each checked before anything starts. No torch, no ray."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from studies.command.search_planning import nothing_after, searching, stopping
from studies.engine.contrasts import Declaration
from studies.engine.folder import stored
from studies.engine.plan import Plan, begun
from studies.engine.question import Question
from studies.engine.settings import Limits, SearchPlan, Stopping
from studies.running.resources import resources
from trainer import presets
from trainer.command.cli import data_settings
from trainer.command.results import check_name, writable
from trainer.errors import UsageError
from trainer.gates import latest
from trainer.mirrors.wandb_mirror import resolve_mode
from trainer.record.identity import arm_id
from trainer.record.resolvable import MIN_SEEDS, MOST_SEEDS
from trainer.record.study_lines import read_info

SEARCH_SEED = 1000
SEEDS = 4
"""Three resolved the true repair on digits in one of ten subsets, four in five of five."""
QUICK_EPOCHS = 16
"""On digits the repair of collapse is resolved by then, with four seeds."""
MOST_TRIALS = 10_000


def make_plan(o: Namespace, study: Question) -> Plan:
    """The plan of a study's command line. Raises UsageError for a wrong option or a wrong declaration."""
    arms = study.fixed_arms(o.quick)
    search = study.space is not None
    overrides = [*study.overrides, *o.overrides]
    _refuse_taken(overrides, study.taken)
    stem = Path(o.preset).stem
    name = check_name(o.study if o.study is not None else f"{study.name}_{stem}{'_quick' if o.quick else ''}")
    place = o.results_dir.absolute() / name
    before = read_info(place / "study.json") if o.resume and begun(place) else {}
    if o.seeds is None and before.get("seeds"):
        seeds = tuple(before["seeds"])
    else:
        seeds = _seeds(o.seeds, SEEDS)
    epochs = o.epochs if o.epochs is not None else before.get("epochs")
    length = {"epochs": epochs} if epochs is not None else None
    revision = _revision(o.preset, overrides, length, before)
    base = presets.load(o.preset, [*revision, *overrides], length)
    if o.quick and epochs is None and base.epochs > QUICK_EPOCHS:
        base = presets.load(o.preset, [*revision, *overrides], {"epochs": QUICK_EPOCHS})
    if base.epochs < 1:
        raise UsageError(f"--epochs {base.epochs}: a study needs at least 1")
    declared = study.declaration(arms, base.epochs)
    if search and o.no_verdict:
        if not before:  # what was begun goes on by the command it was begun with
            nothing_after(o, study)
        arms, declared = (), replace(declared, contrasts=(), controls={})
    trials = _trials(o, study) if search else 0
    writable(place)
    plan = Plan(
        study=name,
        folder=place,
        preset=o.preset,
        overrides=overrides,
        runtime=data_settings(o, base.runtime.data_root, base.runtime.cache_dir),
        seeds=seeds,
        noise_floor=_noise(o, before),
        until=None if search and o.no_verdict else _until(o, seeds, declared, before),
        epochs=base.epochs,
        resources=resources(o),
        arms=arms,
        declared=declared,
        num_trials=trials,
        search_seed=SEARCH_SEED,
        confirm=study.levels,
        ranges=study.ranges,
        search=searching(o, study, before.get("search")) if search else SearchPlan(),
        stopping=stopping(o, study, base.epochs, before.get("stopping")) if search else Stopping(rule="none"),
        limits=_limits(o),
        probe_epochs=tuple(sorted({*_epochs(o.probe_epochs, base.epochs), *declared.predicts})),
        gate=latest(base),
        # a quick study answers in two minutes, of which the mirrors of its runs would take a quarter of one
        wandb=resolve_mode(o.wandb, "off" if o.quick else "offline"),
        tensorboard=o.tensorboard,
        across_commits=o.across_commits,
        revision=revision,
    )
    if search and o.deterministic and o.lag is None and plan.begun and o.resume:
        lag = stored(plan)["search"]["lag"]
        # 0: it was not deterministic so far, and a continued study keeps its mode; agree() refuses the default lag
        plan = replace(plan, search=replace(plan.search, lag=lag)) if lag else plan
    return plan


def _refuse_taken(overrides: list[str], taken: Collection[str]) -> None:
    """Raise UsageError for an override of what the study sets itself, or its arms do (``taken``)."""
    for override in overrides:
        key = override.partition("=")[0]
        if key in ("seed", "eval", "eval.probe_epochs", "gates"):
            raise UsageError(
                f"{override}: a study sets this itself; seeds are given with --seeds, probes run at the rungs and"
                " the end"
            )
        own = next((k for k in taken if key == k or key.startswith(f"{k}.") or k.startswith(f"{key}.")), None)
        if own is not None:
            raise UsageError(f"{key}: this study sets {own} itself for its arms; remove the override")


def _trials(o: Namespace, study: Question) -> int:
    """How many trials the search has."""
    number = o.num_trials if o.num_trials is not None else (6 if o.quick else study.trials)
    if number < 1:
        raise UsageError(
            f"--num-trials {number}: must be at least 1; studies/step2_grid.py compares arms without a search"
        )
    if number > MOST_TRIALS:
        raise UsageError(
            f"--num-trials {number}: must be at most {MOST_TRIALS}, each is a run of its own; a longer search can"
            " be split with --warm-start"
        )
    if o.sampler == "grid" and number > (points := len(study.grid_points())):
        raise UsageError(
            f"--num-trials {number}: the grid has {points} points; ask for at most so many, or take another --sampler"
        )
    return number


def _revision(preset: str, overrides: list[str], length: dict | None, before: dict) -> tuple[str, ...]:
    """The preset as a study to go on with began with it; where it is none of them, agreeing says what differs."""
    if before.get("preset") == preset:
        for revision in presets.revisions(preset):
            if arm_id(presets.load(preset, [*revision, *overrides], length)) == before.get("base_arm"):
                return revision
    return ()


def _limits(o: Namespace) -> Limits:
    if not 0 <= o.retries <= 100:
        raise UsageError(f"--retries {o.retries}: must be 0 to 100")
    for name in ("hang_minutes", "budget_hours", "budget_usd"):
        value = getattr(o, name)
        if value is not None and not 0 < value < 1e9:
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: must be positive")
    if not 0 <= o.usd_per_hour < 1e6:
        raise UsageError(f"--usd-per-hour {o.usd_per_hour:g}: must be 0 or positive")
    if o.budget_usd is not None and not o.usd_per_hour:
        raise UsageError(f"--budget-usd {o.budget_usd:g}: give the price of the machines with --usd-per-hour")
    return Limits(o.retries, o.hang_minutes, o.budget_hours, o.budget_usd, o.usd_per_hour)


def _epochs(text: str | None, last: int) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        epochs = tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        epochs = ()
    if not epochs or epochs[0] < 1 or epochs[-1] > last:
        raise UsageError(f"--probe-epochs {text!r}: give epochs from 1 to {last}, as 1,2,5")
    return epochs


def _noise(o: Namespace, before: dict) -> int:
    seeds = max(o.noise_floor, before.get("noise_floor", 0)) if o.noise_floor >= 0 else o.noise_floor
    if seeds and not MIN_SEEDS <= seeds <= 100:
        raise UsageError(f"--noise-floor {seeds}: must be {MIN_SEEDS} (a spread takes so many) to 100 seeds")
    return seeds


def _until(o: Namespace, seeds: tuple[int, ...], declared: Declaration, before: dict) -> int | None:
    most = o.until_resolved
    if most is None:
        return before.get("until")
    if not declared.contrasts:
        raise UsageError(f"--until-resolved {most}: no primary contrast is declared, so nothing can be resolved")
    if len(seeds) < MIN_SEEDS and not before:
        raise UsageError(
            f"--until-resolved {most}: begins with {len(seeds)} seeds, of which a look resolves nothing and still"
            f" costs its part of the level; give --seeds {MIN_SEEDS} or more"
        )
    if not len(seeds) < most <= MOST_SEEDS:
        raise UsageError(
            f"--until-resolved {most}: must be more than the {len(seeds)} seeds it begins with, at most {MOST_SEEDS}"
        )
    return most


def _seeds(text: str | None, default: int) -> tuple[int, ...]:
    rule = f"--seeds {text!r}: give a number of seeds (3) or different seeds below {SEARCH_SEED} (0,4,7)"
    if text is None:
        return tuple(range(default))
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(rule) from None
    if not numbers:
        raise UsageError(rule)
    if "," not in text:
        if not 1 <= numbers[0] <= MOST_SEEDS:
            raise UsageError(
                f"--seeds {text}: the number of seeds must be 1 to {MOST_SEEDS}; one particular seed is written {text},"
            )
        return tuple(range(numbers[0]))
    if len(set(numbers)) != len(numbers) or not all(0 <= n < SEARCH_SEED for n in numbers):
        raise UsageError(rule)
    return tuple(numbers)
