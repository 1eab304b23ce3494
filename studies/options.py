"""The options every study has, and the plan they make. No torch, no ray."""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies import exit_codes
from studies.capacity import trials_at_once
from studies.engine import fields
from studies.engine.question import Question
from studies.engine.settings import Limits, Resources, SearchPlan, Stopping
from studies.engine.folder import stored
from studies.engine.halving import rung_epochs
from studies.engine.plan import Plan
from studies.processors import check_sizes, processors_here
from studies.study import _words
from trainer import presets
from trainer.cli import Parser, add_data_options, data_settings
from trainer.errors import UsageError
from trainer.gates import latest
from trainer.results import check_name, folder, writable
from trainer.wandb_mirror import MODES, resolve_mode

SEARCH_SEED = 1000
SAMPLERS = ("tpe", "random", "qmc", "grid")
OBJECTIVES = ("linacc", "r2_action")
LAG = 4
MOST_TRIALS = 10_000
EXECUTORS = ("ray", "process")


def parser(study: Question, quick: bool = False) -> Parser:
    """The common options, and those of a search for a study that has one; ``quick``: with its defaults of ``--quick``.

    Raises:
        UsageError: a field of the declaration is not what it should be.
    """
    fields.check(study, quick)
    name, file = study.name, _command(study)
    examples = [
        f"{file} --quick",
        f"{file} --dry-run",
        f"{file} --resume                                   # after Ctrl-C, a kill or a lost machine",
        f"{file} --seeds 5 --preset cifar100_aug_30 --data-root ~/data --gpus-per-trial 1",
        f"{file} --address auto --results-dir /shared/results",
        f"{file} optim.lr=0.001 data.transform=affine --study another_name",
    ]
    p = Parser(prog=file, description=study.question, examples=examples, exits=exit_codes.MEANING)
    p.add_argument(
        "--preset",
        default="digits",
        help="a name from python -m trainer --list-presets, or a YAML file (default: digits)",
    )
    p.add_argument(
        "--seeds",
        help=(
            "how many seeds (3 means 0,1,2) or a list (0,4,7); every arm runs on all of them (default: 3; 2 with"
            " --quick)"
        ),
    )
    p.add_argument("--epochs", type=int, help="epochs per run (default: the preset's)")
    p.add_argument(
        "--probe-epochs", help="further epochs, as 1,2,5, at which the frozen model is probed, for later replays"
    )
    p.add_argument("--quick", action="store_true", help="few trials and two seeds: means without a verdict")
    p.add_argument("--study", help=f"name of the study's folder (default: {name}_<preset>, with _quick)")
    p.add_argument("--results-dir", type=folder, default=Path("results"), help="default: ./results")
    p.add_argument(
        "--resume", action="store_true", help="continue the study if it exists; a complete one only prints its table"
    )
    p.add_argument(
        "--full",
        action="store_true",
        help="at the end, print every table and sentence of the report, not only the answer",
    )
    p.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    p.add_argument(
        "--wandb", choices=MODES, help="mirror to Weights & Biases (default: online with a key, otherwise off)"
    )
    p.add_argument(
        "--tensorboard", action="store_true", help="also write TensorBoard events, to runs/<run>/tensorboard"
    )
    p.add_argument("--across-commits", action="store_true", help="re-use runs recorded by other commits")
    add_data_options(p)
    if study.space is not None:
        _search_options(p, study)
    machine = p.add_argument_group("machine")
    machine.add_argument(
        "--executor",
        choices=EXECUTORS,
        default="ray",
        help="who starts trials: ray, or plain processes on this machine (default: ray)",
    )
    machine.add_argument("--address", help="of a running Ray cluster (default: start Ray on this machine)")
    machine.add_argument("--cpus-per-trial", type=int, default=1, help="per worker (default: 1)")
    machine.add_argument(
        "--gpus-per-trial",
        type=float,
        default=0.0,
        help="per worker; a fraction shares a GPU, once one trial alone has shown that it fits (default: 0)",
    )
    machine.add_argument(
        "--workers-per-trial", type=int, default=1, help="processes that train one run together (default: 1)"
    )
    machine.add_argument(
        "--backend",
        choices=["local", "ray-train"],
        help="local: in the trial's process; ray-train: TorchTrainer (default: local for one worker)",
    )
    machine.add_argument(
        "--max-concurrent",
        type=int,
        help=(
            "trials at once (default: as many as fit; on a cluster a higher number lets one trial wait, so that it may"
            " grow)"
        ),
    )
    machine.add_argument("--dashboard", action="store_true", help="start Ray's dashboard on loopback")
    limits = p.add_argument_group("limits", "change when things run, never what they compute")
    limits.add_argument(
        "--retries",
        type=int,
        default=2,
        help="failures of a run that are forgiven; preemptions are not counted (default: 2)",
    )
    limits.add_argument(
        "--hang-minutes",
        type=float,
        default=30.0,
        help="a run that is silent for longer is killed and tried again (default: 30)",
    )
    limits.add_argument(
        "--budget-hours", type=float, help="wall time of the study, all sessions together; then no new run is started"
    )
    limits.add_argument("--budget-usd", type=float, help="the same in money; needs --usd-per-hour")
    limits.add_argument(
        "--usd-per-hour",
        type=float,
        default=0.0,
        help="price of everything the study runs on; gives the cost of trials and arms",
    )
    p.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings common to all arms, for example optim.lr=0.001"
    )
    _set_defaults(p, study, quick)
    return p


def _set_defaults(p: Parser, study: Question, quick: bool) -> None:
    """A study's own defaults, read as a command line has them, and what --help says of them. Raises UsageError for one
    that no command could give."""
    known = {action.dest: action for action in p._actions if action.option_strings}
    for field, values in (("defaults", study.defaults), *([("quick", study.quick)] if quick else [])):
        for name, value in values.items():
            if name not in known:
                raise UsageError(
                    f"{field} {name!r}: is no option of a study; it must be one of {', '.join(sorted(known))}"
                )
            try:
                read = p.parse_args(_words(name, value))
            except UsageError as error:
                raise UsageError(f"{field} {name!r}: {error}") from None
            p.set_defaults(**{name: getattr(read, name)})
    for name in {**study.defaults, **study.quick}:
        head, _, usual = (known[name].help or "").partition(" (default: ")
        usual, _, in_quick = usual.removesuffix(")").partition("; ")
        if name in study.defaults:
            usual, in_quick = _said(study.defaults[name]), ""
        if name in study.quick:
            in_quick = f"{_said(study.quick[name])} with --quick"
        known[name].help = f"{head} (default: {'; '.join(filter(None, (usual, in_quick)))})"


def _said(value: Any) -> str:
    return str(value).replace("%", "%%")


def _command(study: Question) -> str:
    """How the study is started: as one of those that ship here, or as the file that runs."""
    return (
        f"python studies/{study.name}.py"
        if Path(__file__).with_name(f"{study.name}.py").is_file()
        else f"python {Path(sys.argv[0]).name}"
    )


def _search_options(p: Parser, study: Question) -> None:
    g = p.add_argument_group(
        "search", f"of {'; '.join(f'{name}: {text}' for name, text in study.ranges.items())}".replace("%", "%%")
    )
    of_each = f"of each {study.strata.name} " if study.strata else ""
    g.add_argument("--num-trials", type=int, help=f"search trials (default: {study.trials}; 6 with --quick)")
    g.add_argument(
        "--sampler",
        choices=SAMPLERS,
        default="tpe",
        help="tpe: multivariate TPE after a small grid; qmc: a Sobol sequence (default: tpe)",
    )
    g.add_argument(
        "--objectives",
        default="linacc",
        help=f"of {', '.join(OBJECTIVES)}; two, joined by a comma, give a Pareto search (default: linacc)",
    )
    g.add_argument("--top-k", type=int, help=f"arms {of_each}confirmed on the seed list (default: 3; 1 with --quick)")
    g.add_argument(
        "--stopping",
        choices=["asha", "none"],
        default="asha",
        help="none trains every trial to the end (default: asha)",
    )
    g.add_argument("--grace", type=int, help=f"first epoch at which a trial may be stopped (default: {Stopping.grace})")
    g.add_argument("--eta", type=int, help=f"about one in so many goes on at each rung (default: {Stopping.eta})")
    g.add_argument(
        "--brackets", type=int, help="Hyperband's brackets: trials take turns in starting at a later rung (default: 1)"
    )
    g.add_argument(
        "--collapse-rank",
        type=float,
        help=(
            "effective rank of z_agg below which a trial is stopped as collapsed, 0: never (default:"
            f" {Stopping.collapse_rank:g})"
        ),
    )
    g.add_argument(
        "--deterministic",
        action="store_true",
        help="the same table whatever is killed, however many run at once and whoever ends first",
    )
    g.add_argument(
        "--lag",
        type=int,
        help=(
            "deterministic: trial k depends on the trials up to k - LAG, so at most LAG are searched at once (default:"
            f" {LAG})"
        ),
    )
    g.add_argument(
        "--warm-start",
        action="append",
        default=[],
        metavar="FOLDER",
        help="an earlier study: its trials are told to the sampler, its runs are not run again",
    )


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
    seeds = _seeds(o.seeds, 2 if o.quick else 3)
    base = presets.load(o.preset, overrides, {"epochs": o.epochs} if o.epochs is not None else None)
    if base.epochs < 1:
        raise UsageError(f"--epochs {base.epochs}: a study needs at least 1")
    if base.optim.batch_size % max(1, o.workers_per_trial):
        raise UsageError(
            f"--workers-per-trial {o.workers_per_trial}: must divide optim.batch_size = {base.optim.batch_size}"
        )
    declared = study.declaration(arms, base.epochs)
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
    stem = Path(o.preset).stem
    name = check_name(o.study if o.study is not None else f"{study.name}_{stem}{'_quick' if o.quick else ''}")
    place = o.results_dir.absolute() / name
    writable(place)
    plan = Plan(
        study=name,
        folder=place,
        preset=o.preset,
        overrides=overrides,
        runtime=data_settings(o, base.runtime.data_root, base.runtime.cache_dir),
        seeds=seeds,
        epochs=base.epochs,
        resources=_resources(o),
        arms=arms,
        declared=declared,
        num_trials=number,
        search_seed=SEARCH_SEED,
        confirm=study.levels,
        ranges=study.ranges,
        search=_search(o) if search else SearchPlan(),
        stopping=_stopping(o, base.epochs) if search else Stopping(rule="none"),
        limits=_limits(o),
        probe_epochs=tuple(sorted({*_epochs(o.probe_epochs, base.epochs), *declared.predicts})),
        gate=latest(base),
        wandb=resolve_mode(o.wandb),
        tensorboard=o.tensorboard,
        across_commits=o.across_commits,
    )
    if search and o.deterministic and o.lag is None and plan.begun and o.resume:
        lag = stored(plan)["search"]["lag"]
        # 0: it was not deterministic so far, and a continued study keeps its mode; agree() refuses the default lag
        plan = replace(plan, search=replace(plan.search, lag=lag)) if lag else plan
    return plan


def _search(o: Namespace) -> SearchPlan:
    objectives = tuple(word.strip() for word in o.objectives.split(","))
    if objectives[0] != "linacc" or len(set(objectives)) != len(objectives) or not set(objectives) <= set(OBJECTIVES):
        raise UsageError(
            f"--objectives {o.objectives!r}: linacc, by which trials are stopped and ranked, or {','.join(OBJECTIVES)}"
        )
    if o.lag is not None and not o.deterministic:
        raise UsageError(f"--lag {o.lag}: is only valid with --deterministic")
    if o.lag is not None and o.lag < 2:
        raise UsageError(f"--lag {o.lag}: must be at least 2; with 1 the search would run one trial at a time")
    top_k = o.top_k if o.top_k is not None else (1 if o.quick else 3)
    if not 1 <= top_k <= 20:
        raise UsageError(f"--top-k {top_k}: must be 1 to 20")
    lag = (o.lag or LAG) if o.deterministic else 0
    return SearchPlan(o.sampler, objectives, top_k, lag, tuple(str(Path(folder).absolute()) for folder in o.warm_start))


def _stopping(o: Namespace, epochs: int) -> Stopping:
    given = {name: getattr(o, name) for name in ("grace", "eta", "brackets") if getattr(o, name) is not None}
    if o.stopping == "none" and (given or o.collapse_rank):
        name = next(iter(given), "collapse_rank").replace("_", "-")
        raise UsageError(f"--{name}: has no effect with --stopping none; remove one of them")
    for name, least in (("grace", 1), ("eta", 2), ("brackets", 1)):
        if given.get(name, least) < least:
            raise UsageError(f"--{name} {given[name]}: must be at least {least}")
    if o.collapse_rank is not None and not 0 <= o.collapse_rank < 1e6:
        raise UsageError(f"--collapse-rank {o.collapse_rank:g}: must be 0 (never) or positive")
    floor = o.collapse_rank if o.collapse_rank is not None else Stopping.collapse_rank if o.stopping == "asha" else 0.0
    rule = Stopping(rule=o.stopping, **given, collapse_rank=floor)
    rungs = rung_epochs(rule.grace, rule.eta, epochs) if rule.rule == "asha" else ()
    if "grace" in given and rule.rule == "asha" and not rungs:
        raise UsageError(
            f"--grace {rule.grace}: no rung lies in the first half of {epochs} epochs; give at most {epochs // 2}, or"
            " --stopping none"
        )
    if rule.brackets > max(1, len(rungs)):
        raise UsageError(
            f"--brackets {rule.brackets}: there are {len(rungs)} rungs (epochs {', '.join(map(str, rungs)) or 'none'}),"
            " a bracket each at most"
        )
    return rule


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


def _resources(o: Namespace) -> Resources:
    """Check what was asked against this machine, unless the study runs on a cluster."""
    check_sizes(o)
    _only_with_ray(o)
    backend = o.backend or ("local" if o.workers_per_trial == 1 else "ray-train")
    if backend == "local" and o.workers_per_trial > 1:
        raise UsageError(
            f"--workers-per-trial {o.workers_per_trial} needs --backend ray-train: a local trial is one process"
        )
    if o.max_concurrent is not None and o.max_concurrent < 1:
        raise UsageError(f"--max-concurrent {o.max_concurrent}: must be at least 1")
    cpus, gpus = o.cpus_per_trial * o.workers_per_trial, o.gpus_per_trial * o.workers_per_trial
    if o.address:
        return Resources(o.cpus_per_trial, o.gpus_per_trial, o.workers_per_trial, backend, o.max_concurrent or 0)
    have_cpus, have_gpus = processors_here(), len(list(Path("/dev").glob("nvidia[0-9]*")))
    if cpus > have_cpus:
        raise UsageError(
            f"one trial would take {o.workers_per_trial} x {o.cpus_per_trial} = {cpus} CPUs, this machine has"
            f" {have_cpus}; lower --cpus-per-trial or --workers-per-trial, or give a cluster's --address"
        )
    if gpus > have_gpus:
        raise UsageError(
            f"one trial would take {gpus:g} GPUs, this machine has {have_gpus}; lower --gpus-per-trial or give a"
            " cluster's --address"
        )
    fit = trials_at_once(
        [{"CPU": have_cpus, "GPU": have_gpus}], o.cpus_per_trial, o.gpus_per_trial, o.workers_per_trial
    )
    return Resources(
        o.cpus_per_trial, o.gpus_per_trial, o.workers_per_trial, backend, min(fit, o.max_concurrent or fit), o.executor
    )


def _only_with_ray(o: Namespace) -> None:
    """Refuse what plain processes on one machine cannot do."""
    asked = {
        f"--address {o.address}": o.address is not None,
        f"--workers-per-trial {o.workers_per_trial}": o.workers_per_trial > 1,
        "--backend ray-train": o.backend == "ray-train",
        "--dashboard": o.dashboard,
    }
    if o.executor == "process" and (option := next((option for option, given in asked.items() if given), None)):
        raise UsageError(
            f"{option}: needs Ray, and --executor process starts plain processes on this machine; remove one of the two"
        )
