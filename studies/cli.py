"""The way from a command line to a table. No torch, no ray."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from studies import exit_codes, warm_start
from studies.contrasts import Declaration
from studies.decisions import NAME, Decisions
from studies.folder import stored
from studies.lifeline import ClusterLost
from studies.options import make_plan, parser
from studies.plan import Plan
from studies.resume_command import resume_command
from studies.settings import Arm
from trainer import early_interrupt
from trainer.cli import split_overrides
from trainer.data.sets import require_present
from trainer.decision_lines import read_decisions
from trainer.errors import EXIT_USAGE, RecordError, UsageError

EXIT_FAILED_RUNS, EXIT_BUDGET, EXIT_INTERRUPTED = exit_codes.FAULT, exit_codes.BUDGET, exit_codes.INTERRUPTED


def run(
    argv: list[str] | None,
    name: str,
    about: str,
    *,
    arms: Callable[[Namespace], tuple[Arm, ...]],
    search: Any = None,
    trials: int | None = None,
    compared_keys: frozenset[str] = frozenset(),
    declared: Callable[[tuple[Arm, ...]], Declaration] = lambda _: Declaration(),
) -> int:
    """Run a study from its command line.

    Args:
        arms: the arms known before any search.
        search: a module of ``search_spaces``, or None.
        compared_keys: configuration keys the study sets itself; overriding them is an error.
        declared: the question and the primary contrasts, given those arms.

    Returns:
        0 complete, 1 runs failed, 2 wrong command or configuration, 3 budget spent, 4 Ray lost, 130 interrupted; the last three are resumable.
    """
    try:
        early_interrupt.over()
        p = parser(name, about, trials)
        options = p.parse_args(split_overrides(sys.argv[1:] if argv is None else argv))
        plan = make_plan(options, name, arms(options), search, trials, compared_keys)
        plan = replace(plan, declared=declared(plan.arms))
        plan.declared.check((arm.key for arm in plan.arms), plan.confirm)
        plan.check([search.overrides(point) for point in search.corners()] if search is not None else [], here=options.address is None)
        warm_start.check(plan)
        _points_left(plan, search)
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
    except ClusterLost as error:
        print(f"error: Ray is gone: {error}; everything so far is on record. Continue with:\n  {resume_command()}", file=sys.stderr)
        if error.stuck:  # its threads would keep this process for ever
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(exit_codes.LOST_CLUSTER)
        return exit_codes.LOST_CLUSTER
    except KeyboardInterrupt:
        print("\ninterrupted; the same command with --resume continues", file=sys.stderr)
        return EXIT_INTERRUPTED


def _existing(plan: Plan, options: Namespace) -> None:
    if plan.begun and not options.resume:
        raise UsageError(f"study {plan.study} exists in {plan.folder}; add --resume to continue it, or choose another --study name")


def _points_left(plan: Plan, search: Any) -> None:
    """Refuse more trials than the grid has points that no earlier study tried; a continued study may keep its number."""
    s, begun = plan.search, plan.begun
    if s.sampler != "grid" or not s.warm_start or (begun and plan.num_trials <= stored(plan)["num_trials"]):
        return
    if begun:
        known = read_decisions(plan.folder / NAME)
    else:
        with TemporaryDirectory() as scratch:  # a command that is refused leaves nothing on record
            decisions = Decisions(Path(scratch))
            warm_start.absorb(replace(plan, folder=Path(scratch)), decisions)
            decisions.close()
        known = decisions.events
    tried = [line["raw"] for line in known if line["event"] == "warm"]
    points = search.grid_points()
    left = sum(not any(all(raw.get(name) == value for name, value in point.items()) for raw in tried) for point in points)
    if plan.num_trials > left:
        raise UsageError(
            f"--num-trials {plan.num_trials}: the grid has {len(points)} points, of which the --warm-start studies tried {len(points) - left}; "
            f"ask for at most {left}, or take another --sampler"
        )


def _run(plan: Plan, search: Any, options: Namespace) -> int:
    from rich.console import Console

    from studies.driver import run_study

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 120)  # a log has no width; the tables need this much
    for line in plan.lines():
        console.print(line, highlight=False, soft_wrap=True)
    if plan.wandb != "off":
        console.print(f"wandb      {plan.wandb}")
    complete, jobs = run_study(plan, search, console, address=options.address, dashboard=options.dashboard)
    again = resume_command()
    if not complete and jobs.budget_reached is None:
        console.print(f"\ninterrupted; everything so far is on record. Continue with:\n  {again}", highlight=False, soft_wrap=True)
        return EXIT_INTERRUPTED
    from analysis.report import report

    report(plan.folder, console, full=options.full)
    if jobs.failed:
        console.print(f"{jobs.failed} runs failed and count as not run; the same command with --resume tries them again", highlight=False)
    if not complete:
        cut = f" and {len(jobs.running)} were interrupted" if jobs.running else ""
        text = f"{jobs.budget_reached}: {jobs.left} runs were not started{cut}. Raise it and continue with:\n  {again}"
        console.print(text, highlight=False, soft_wrap=True)
        return EXIT_BUDGET
    return EXIT_FAILED_RUNS if jobs.failed else 0
