"""From the options of a command to the study's plan, each checked before anything starts. No torch, no ray."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from studies.command.search_options import LAG, OBJECTIVES
from studies.engine.choosing import RULES as CHOICES
from studies.engine.contrasts import Declaration
from studies.engine.folder import BEFORE, stored
from studies.engine.plan import Plan, begun
from studies.engine.question import Question
from studies.engine.settings import ON_RECORD, Limits, SearchPlan, Stopping
from studies.engine.stopping import RULES, own
from studies.running.resources import resources
from trainer import presets
from trainer.command.cli import data_settings
from trainer.command.results import check_name, writable
from trainer.errors import UsageError
from trainer.gates import latest
from trainer.mirrors.wandb_mirror import resolve_mode
from trainer.record.identity import arm_id
from trainer.record.resolvable import MIN_SEEDS
from trainer.record.study_lines import read_info

SEARCH_SEED = 1000
SEEDS = 4
"""Three resolved the true repair on digits in one of ten subsets, four in five of five."""
RACE = 1
QUICK_EPOCHS = 16
"""On digits the repair of collapse is resolved by then, with four seeds."""
RULE, IN_ORDER = "asha", "gate"
"""The usual stopping rules, the second with --deterministic. Gates give up less on all four recorded sets, but on the
one recorded to judge them the interval over arms touches 0 (replay/README.md)."""
MOST_TRIALS = 10_000


def make_plan(o: Namespace, study: Question) -> Plan:
    """The plan of a study's command line. Raises UsageError for a wrong option or a wrong declaration."""
    arms = study.fixed_arms(o.quick)
    keys, search = study.taken, study.space is not None
    overrides = [*study.overrides, *o.overrides]
    for override in overrides:
        if override.partition("=")[0] in ("seed", "eval", "eval.probe_epochs", "gates"):
            raise UsageError(
                f"{override}: a study sets this itself; seeds are given with --seeds, probes run at the rungs and"
                " the end"
            )
        key = override.partition("=")[0]
        taken = next((k for k in keys if key == k or key.startswith(f"{k}.") or k.startswith(f"{key}.")), None)
        if taken:
            raise UsageError(f"{key}: this study sets {taken} itself for its arms; remove the override")
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
    if base.optim.batch_size % max(1, o.workers_per_trial):
        raise UsageError(
            f"--workers-per-trial {o.workers_per_trial}: must divide optim.batch_size = {base.optim.batch_size}"
        )
    declared = study.declaration(arms, base.epochs)
    if search and o.no_verdict:
        arms, declared = (), replace(declared, contrasts=(), controls={})
    number = 0
    if search:
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
                f"--num-trials {number}: the grid has {points} points; ask for at most so many, or take another"
                " --sampler"
            )
    writable(place)
    plan = Plan(
        study=name,
        folder=place,
        preset=o.preset,
        overrides=overrides,
        runtime=data_settings(o, base.runtime.data_root, base.runtime.cache_dir),
        seeds=seeds,
        noise_floor=_noise(o, before),
        until=_until(o, seeds, declared, before),
        epochs=base.epochs,
        resources=resources(o),
        arms=arms,
        declared=declared,
        num_trials=number,
        search_seed=SEARCH_SEED,
        confirm=study.levels,
        ranges=study.ranges,
        search=_search(o, before.get("search")) if search else SearchPlan(),
        stopping=_stopping(o, study, base.epochs, before.get("stopping")) if search else Stopping(rule="none"),
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


def _revision(preset: str, overrides: list[str], length: dict | None, before: dict) -> tuple[str, ...]:
    """The preset as a study to go on with began with it; where it is none of them, agreeing says what differs."""
    if before.get("preset") == preset:
        for revision in presets.revisions(preset):
            if arm_id(presets.load(preset, [*revision, *overrides], length)) == before.get("base_arm"):
                return revision
    return ()


def _search(o: Namespace, before: dict | None) -> SearchPlan:
    objectives = tuple(word.strip() for word in o.objectives.split(","))
    if objectives[0] != "linacc" or len(set(objectives)) != len(objectives) or not set(objectives) <= set(OBJECTIVES):
        raise UsageError(
            f"--objectives {o.objectives!r}: linacc, by which trials are stopped and ranked, or {','.join(OBJECTIVES)}"
        )
    if o.lag is not None and not o.deterministic:
        raise UsageError(f"--lag {o.lag}: is only valid with --deterministic")
    if o.lag is not None and o.lag < 2:
        raise UsageError(f"--lag {o.lag}: must be at least 2; with 1 the search would run one trial at a time")
    usual = {"top_k": 1 if o.quick else 3, "race": RACE, "seed": None, "choose": CHOICES[0]}
    if before is not None:  # whatever it lacks, the comparison of the two plans says
        usual |= {**BEFORE, **before}
    top_k = o.top_k if o.top_k is not None else usual["top_k"]
    race = o.race if o.race is not None else usual["race"]
    seed = o.search_seed if o.search_seed is not None else usual["seed"]
    if not 1 <= top_k <= 20:
        raise UsageError(f"--top-k {top_k}: must be 1 to 20")
    if not 0 <= race <= 20:
        raise UsageError(f"--race {race}: must be 0 (no race) to 20 seeds")
    if o.race and top_k == 1:
        raise UsageError(f"--race {race}: nobody runs against a single arm; give --top-k 2 or more, or no --race")
    if seed is not None and not 0 <= seed < 2**31:
        raise UsageError(f"--search-seed {seed}: must be 0 to {2**31 - 1}")
    if o.no_verdict and o.race:
        raise UsageError("--no-verdict: nothing runs after the search, so --race has no effect; remove one of them")
    lag = (o.lag or LAG) if o.deterministic else 0
    choose = o.choose if o.choose is not None else usual["choose"]
    if choose == "smoothed" and len(objectives) > 1:
        raise UsageError(f"--choose smoothed: smooths one score, not {o.objectives}; leave out one of the two options")
    earlier = tuple(str(Path(folder).absolute()) for folder in o.warm_start)
    return SearchPlan(o.sampler, objectives, top_k, lag, earlier, race, seed, not o.no_verdict, choose)


def _stopping(o: Namespace, study: Question, epochs: int, before: dict | None) -> Stopping:
    """The stopping rule.

    Args:
        before: what the study, if it was begun, has on record of it: what no option says stays as it is.
    """
    name, given = _rule(o, study, before), {}
    make = study.rules.get(name) or RULES[name]
    usual = {**study.defaults, **(study.quick if o.quick else {})}
    same = before is not None and ON_RECORD.get(name, name) == before.get("rule")
    for option in ("grace", "eta", "brackets"):
        value = getattr(o, option)
        if value is not None and option not in make.takes:
            if value != usual.get(option):
                raise UsageError(f"--{option} {value}: has no effect with --stopping {name}; remove one of them")
            value = None  # the study's own default, for rules that heed it
        if value is None and same and option in make.takes:
            value = before.get(option)
        if value is not None:
            given[option] = value
    if o.collapse_rank and name == "none":
        raise UsageError("--collapse-rank: has no effect with --stopping none; remove one of them")
    for option, least in (("grace", 1), ("eta", 2), ("brackets", 1)):
        if given.get(option, least) < least:
            raise UsageError(f"--{option} {given[option]}: must be at least {least}")
    if o.collapse_rank is not None and not 0 <= o.collapse_rank < 1e6:
        raise UsageError(f"--collapse-rank {o.collapse_rank:g}: must be 0 (never) or positive")
    floor = (
        0.0
        if name == "none"
        else before.get("collapse_rank", Stopping.collapse_rank)
        if same
        else Stopping.collapse_rank
    )
    floor = o.collapse_rank if o.collapse_rank is not None else floor
    together = getattr(o, "one_bracket", False) or (same and before.get("together", False))
    stopping = Stopping(name, **given, collapse_rank=floor, together=together, own=study.rules.get(name))
    rule = stopping.over(epochs) if stopping.own is None else own.tried(name, lambda: stopping.over(epochs))
    if "grace" in given and o.grace is not None and not rule.rungs:
        raise UsageError(
            f"--grace {rule.grace}: no rung lies in the first half of {epochs} epochs; give at most {epochs // 2}, or"
            " --stopping none"
        )
    if rule.brackets > max(1, len(rule.rungs)):
        rungs = ", ".join(map(str, rule.rungs)) or "none"
        raise UsageError(
            f"--brackets {rule.brackets}: there are {len(rule.rungs)} rungs (epochs {rungs}), a bracket each at most"
        )
    return stopping


def _rule(o: Namespace, study: Question, before: dict | None) -> str:
    """The name of the stopping rule."""
    if o.stopping is None:
        names = {ON_RECORD.get(name, name): name for name in (*RULES, *study.rules)}
        begun = names.get(before.get("rule")) if before is not None else None
        return begun or (IN_ORDER if o.deterministic else RULE)
    make = study.rules.get(o.stopping) or RULES[o.stopping]
    if o.deterministic and not make.in_order:
        able = ", ".join(name for name, rule in {**RULES, **study.rules}.items() if rule.in_order)
        raise UsageError(
            f"--stopping {o.stopping}: decides by who arrives first, which --deterministic excludes; take one of {able}"
        )
    return o.stopping


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
    seeds = o.noise_floor or before.get("noise_floor", 0)
    if seeds and not MIN_SEEDS <= seeds <= 100:
        raise UsageError(f"--noise-floor {seeds}: must be {MIN_SEEDS} (a spread takes so many) to 100 seeds")
    return seeds


def _until(o: Namespace, seeds: tuple[int, ...], declared: Declaration, before: dict) -> int | None:
    most = o.until_resolved
    if most is None:
        return before.get("until")
    if not declared.contrasts:
        raise UsageError(f"--until-resolved {most}: no primary contrast is declared, so nothing can be resolved")
    if not len(seeds) < most <= 100:
        raise UsageError(
            f"--until-resolved {most}: must be more than the {len(seeds)} seeds it begins with, at most 100"
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
        if not 1 <= numbers[0] <= 100:
            raise UsageError(
                f"--seeds {text}: the number of seeds must be 1 to 100; one particular seed is written {text},"
            )
        return tuple(range(numbers[0]))
    if len(set(numbers)) != len(numbers) or not all(0 <= n < SEARCH_SEED for n in numbers):
        raise UsageError(rule)
    return tuple(numbers)
