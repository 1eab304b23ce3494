"""The options every study has, and the way from a command line to a table. No torch, no ray."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.plan import Arm, Plan, Resources
from trainer import presets
from trainer.cli import Parser, add_data_options, data_settings, split_overrides
from trainer.data.sets import require_present
from trainer.errors import EXIT_USAGE, RecordError, UsageError
from trainer.gates import latest
from trainer.results import check_name, writable
from trainer.wandb_mirror import MODES, resolve_mode

EXIT_FAILED_RUNS, EXIT_INTERRUPTED = 1, 130
SEARCH_SEED = 1000


def parser(name: str, about: str, trials: int | None) -> Parser:
    """The common options; ``trials`` is the default of --num-trials, None for a study without a search."""
    p = Parser(prog=f"python studies/{name}.py", description=about)
    p.add_argument("--preset", default="digits", help=f"one of {', '.join(presets.names())}, or a YAML file (default: digits)")
    if trials is not None:
        p.add_argument("--num-trials", type=int, help=f"search trials (default: {trials}; 6 with --quick)")
    p.add_argument("--seeds", help="how many seeds (3 means 0,1,2) or a list (0,4,7); every arm runs on all of them (default: 3; 2 with --quick)")
    p.add_argument("--epochs", type=int, help="epochs per run (default: the preset's)")
    p.add_argument("--quick", action="store_true", help="few trials and two seeds: means without a verdict")
    p.add_argument("--study", help=f"name of the study's folder (default: {name}_<preset>, with _quick)")
    p.add_argument("--results-dir", type=Path, default=Path("results"), help="default: ./results")
    p.add_argument("--resume", action="store_true", help="continue the study if it exists; a complete one only prints its table")
    p.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    p.add_argument("--address", help="of a running Ray cluster (default: start Ray on this machine)")
    p.add_argument("--cpus-per-trial", type=int, default=1, help="per worker (default: 1)")
    p.add_argument("--gpus-per-trial", type=float, default=0.0, help="per worker; a fraction shares a GPU (default: 0)")
    p.add_argument("--workers-per-trial", type=int, default=1, help="processes that train one run together (default: 1)")
    p.add_argument("--backend", choices=["local", "ray-train"], help="local: in the trial's process; ray-train: TorchTrainer (default: local for one worker)")
    p.add_argument("--max-concurrent", type=int, help="trials at once (default: as many as fit)")
    p.add_argument("--wandb", choices=MODES, help="mirror to Weights & Biases (default: online with a key, otherwise off)")
    p.add_argument("--dashboard", action="store_true", help="start Ray's dashboard on loopback")
    add_data_options(p)
    p.add_argument("--across-commits", action="store_true", help="re-use runs recorded by other commits")
    p.add_argument("overrides", nargs="*", metavar="key=value", help="settings common to all arms, for example optim.lr=0.001")
    return p


def run(
    argv: list[str] | None,
    name: str,
    about: str,
    *,
    arms: Callable[[Namespace], tuple[Arm, ...]],

    search: Any = None,
    trials: int | None = None,
    compared_keys: frozenset[str] = frozenset(),
) -> int:
    """Run a study from its command line.

    Args:
        arms: the arms known before any search.
        search: a module of ``search_spaces``, or None.
        compared_keys: configuration keys the study sets itself; overriding them is an error.

    Returns:
        0 complete, 2 wrong command or configuration, 130 interrupted (resumable), 1 runs failed.
    """
    try:
        p = parser(name, about, trials)
        options = p.parse_args(split_overrides(sys.argv[1:] if argv is None else argv))
        plan = _plan(options, name, arms(options), search, trials, compared_keys)
        plan.check([search.overrides(point) for point in search.corners()] if search is not None else [])
        if options.dry_run:
            print("\n".join(plan.lines()))
            return 0
        if options.address is None:  # a cluster's files are on its nodes
            require_present(plan.config({}, plan.seeds[0]))
        _existing(plan, options)
        return _run(plan, search, options)
    except (UsageError, RecordError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("\ninterrupted; the same command with --resume continues", file=sys.stderr)
        return EXIT_INTERRUPTED


def _plan(o: Namespace, name: str, arms: tuple[Arm, ...], search: Any, trials: int | None, keys: frozenset[str]) -> Plan:
    for override in o.overrides:
        if override.partition("=")[0] in ("seed", "eval", "eval.probe_epochs", "gates"):
            raise UsageError(f"{override}: a study sets this itself; seeds are given with --seeds, probes run at the rungs and the end")
        key = override.partition("=")[0]
        taken = next((k for k in keys if key == k or key.startswith(f"{k}.") or k.startswith(f"{key}.")), None)
        if taken:
            raise UsageError(f"{key}: this study sets {taken} itself for its arms; remove the override")
    seeds = _seeds(o.seeds, 2 if o.quick else 3)
    base = presets.load(o.preset, o.overrides, {"epochs": o.epochs} if o.epochs is not None else None)
    if base.epochs < 1:
        raise UsageError(f"--epochs {base.epochs}: a study needs at least 1")
    if base.optim.batch_size % max(1, o.workers_per_trial):
        raise UsageError(f"--workers-per-trial {o.workers_per_trial}: must divide optim.batch_size = {base.optim.batch_size}")
    number = 0
    if trials is not None:
        number = o.num_trials if o.num_trials is not None else (6 if o.quick else trials)
        if number < 1:
            raise UsageError(f"--num-trials {number}: must be at least 1; studies/step2_grid.py compares arms without a search")
    stem = Path(o.preset).stem
    study = check_name(o.study or f"{name}_{stem}{'_quick' if o.quick else ''}")
    folder = o.results_dir.absolute() / study
    writable(folder)
    gate = latest(base)
    return Plan(
        study=study,
        folder=folder,
        preset=o.preset,
        overrides=list(o.overrides),
        runtime=data_settings(o, base.runtime.data_root),
        seeds=seeds,
        epochs=base.epochs,
        resources=_resources(o),
        arms=arms,
        num_trials=number,
        search_seed=SEARCH_SEED,
        confirm=search.TEACHERS if search is not None else (),
        ranges=dict(search.RANGES) if search is not None else {},
        gate=gate,
        wandb=resolve_mode(o.wandb),
        across_commits=o.across_commits,
    )


def _seeds(text: str | None, default: int) -> tuple[int, ...]:
    rule = f"--seeds {text!r}: give a number of seeds (3) or different seeds below {SEARCH_SEED} (0,4,7)"
    if text is None:
        return tuple(range(default))
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(rule) from None
    if "," not in text:
        if not 1 <= numbers[0] <= 100:
            raise UsageError(f"--seeds {text}: the number of seeds must be 1 to 100; one particular seed is written {text},")
        return tuple(range(numbers[0]))
    if not numbers or len(set(numbers)) != len(numbers) or not all(0 <= n < SEARCH_SEED for n in numbers):
        raise UsageError(rule)
    return tuple(numbers)


def _resources(o: Namespace) -> Resources:
    """Check what was asked against this machine, unless the study runs on a cluster."""
    backend = o.backend or ("local" if o.workers_per_trial == 1 else "ray-train")
    for option, value in (("--cpus-per-trial", o.cpus_per_trial), ("--workers-per-trial", o.workers_per_trial)):
        if value < 1:
            raise UsageError(f"{option} {value}: must be at least 1")
    if backend == "local" and o.workers_per_trial > 1:
        raise UsageError(f"--workers-per-trial {o.workers_per_trial} needs --backend ray-train: a local trial is one process")
    if not 0 <= o.gpus_per_trial < 1e6 or (o.gpus_per_trial > 1 and o.gpus_per_trial % 1):
        raise UsageError(f"--gpus-per-trial {o.gpus_per_trial:g}: must be 0, a fraction below 1, or a whole number")
    if 0 < o.gpus_per_trial < 1 and o.workers_per_trial > 1:
        raise UsageError(f"--gpus-per-trial {o.gpus_per_trial:g} with {o.workers_per_trial} workers: nccl needs a whole GPU per worker")
    if o.max_concurrent is not None and o.max_concurrent < 1:
        raise UsageError(f"--max-concurrent {o.max_concurrent}: must be at least 1")
    cpus, gpus = o.cpus_per_trial * o.workers_per_trial, o.gpus_per_trial * o.workers_per_trial
    if o.address:
        return Resources(o.cpus_per_trial, o.gpus_per_trial, o.workers_per_trial, backend, o.max_concurrent or 64)
    have_cpus, have_gpus = os.cpu_count() or 1, len(list(Path("/dev").glob("nvidia[0-9]*")))
    if cpus > have_cpus:
        raise UsageError(
            f"one trial would take {o.workers_per_trial} x {o.cpus_per_trial} = {cpus} CPUs, this machine has {have_cpus}; "
            "lower --cpus-per-trial or --workers-per-trial, or give a cluster's --address"
        )
    if gpus > have_gpus:
        raise UsageError(f"one trial would take {gpus:g} GPUs, this machine has {have_gpus}; lower --gpus-per-trial or give a cluster's --address")
    fit = have_cpus // cpus if not gpus else min(have_cpus // cpus, int(have_gpus / gpus + 1e-9))
    return Resources(o.cpus_per_trial, o.gpus_per_trial, o.workers_per_trial, backend, min(fit, o.max_concurrent or fit))


def _existing(plan: Plan, options: Namespace) -> None:
    if plan.begun and not options.resume:
        raise UsageError(f"study {plan.study} exists in {plan.folder}; add --resume to continue it, or choose another --study name")


def _run(plan: Plan, search: Any, options: Namespace) -> int:
    from rich.console import Console

    from studies.driver import run_study

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 120)  # a log has no width; the tables need this much
    for line in plan.lines():
        console.print(line, highlight=False, soft_wrap=True)
    if plan.wandb != "off":
        console.print(f"wandb      {plan.wandb}")
    complete, failed = run_study(plan, search, console, address=options.address, dashboard=options.dashboard)
    if not complete:
        again = " ".join(["python", *sys.argv, *([] if options.resume else ["--resume"])])
        console.print(f"\ninterrupted; everything so far is on record. Continue with:\n  {again}", highlight=False, soft_wrap=True)
        return EXIT_INTERRUPTED
    from analysis.report import report

    report(plan.folder, console)
    if failed:
        console.print(f"{failed} runs failed and count as not run; the same command with --resume tries them again", highlight=False)
    return EXIT_FAILED_RUNS if failed else 0
