"""The way from a command line to a table. No torch, no ray."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from studies.command import exit_codes
from studies.command.options import parser
from studies.command.planning import make_plan
from studies.command.resume_command import resume_command
from studies.engine import effects, warm_start
from studies.engine.decisions import NAME, Decisions
from studies.engine.folder import checked, stored
from studies.engine.plan import Plan
from studies.engine.plan_lines import plan_lines
from studies.engine.power import power_lines
from studies.engine.question import Question
from studies.executors.gpu_slots import visible_gpus
from studies.executors.lifeline import ClusterLost
from studies.running.capacity import idle_gpus
from trainer.command import early_interrupt
from trainer.command.cli import guarded, split_overrides
from trainer.data.sets import require_present
from trainer.errors import RecordError, UsageError, one_line
from trainer.record.study_lines import read_decisions

NAMES = 11
"""Columns of the names in front of a plan's lines."""

if TYPE_CHECKING:
    from studies.command.console import StudyConsole
    from studies.engine.jobs import Jobs


def run(argv: list[str] | None, study: Question) -> int:
    """Run a study from its command line; returns one of :mod:`studies.command.exit_codes`."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return guarded(lambda: start(words, study)[0], "interrupted; the same command with --resume continues")
    except ClusterLost as error:
        print(f"error: {_gone(error)}", file=sys.stderr)
        if error.stuck:  # its threads would keep this process for ever
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(exit_codes.LOST_CLUSTER)
        return exit_codes.LOST_CLUSTER


def start(words: list[str], study: Question) -> tuple[int, Plan]:
    """Check a command and run the study; returns the exit code and what was planned.

    Raises:
        UsageError, RecordError, OSError: a wrong declaration, command or file; nothing was started.
        ClusterLost: Ray or its cluster went away.
    """
    early_interrupt.over()
    options = parser(study, quick="--quick" in words).parse_args(split_overrides(words))
    plan = make_plan(options, study)
    plan.declared.check((arm.key for arm in plan.arms), plan.confirm)
    plan.check([*study.corners, *study.references], here=options.address is None)
    effects.check(plan, study)
    warm_start.check(plan, study)
    _points_left(plan, study)
    if options.dry_run:
        if options.resume:  # a command that would be refused runs nothing
            checked(plan)
        print("\n".join([*plan_lines(plan), *_idle(plan, options), *power_lines(plan)]))
        return exit_codes.OK, plan
    if options.address is None:  # a cluster's files are on its nodes
        require_present(plan.config({}, plan.seeds[0]))
    _existing(plan, options)
    return _run(plan, study if study.space is not None else None, options), plan


def _idle(plan: Plan, options: Namespace) -> list[str]:
    # a cluster's GPUs are known when it is joined
    return idle_gpus(plan.resources, len(visible_gpus(os.environ))) if options.address is None else []


def _gone(error: ClusterLost) -> str:
    return f"Ray is gone: {error}; everything so far is on record. Continue with:\n  {resume_command()}"


def _existing(plan: Plan, options: Namespace) -> None:
    if plan.begun and not options.resume:
        raise UsageError(
            f"study {plan.study} exists in {plan.folder}; add --resume to continue it, or choose another --study name"
        )


def _points_left(plan: Plan, study: Question) -> None:
    """Refuse more trials than the grid has points that no earlier study tried; a continued study may keep its
    number."""
    s, begun = plan.search, plan.begun
    if s.sampler != "grid" or not s.warm_start or (begun and plan.num_trials <= stored(plan)["num_trials"]):
        return
    if begun:
        known = read_decisions(plan.folder / NAME)
    else:
        with TemporaryDirectory() as scratch:  # a command that is refused leaves nothing on record
            with closing(Decisions(Path(scratch))) as decisions:
                warm_start.absorb(replace(plan, folder=Path(scratch)), decisions)
        known = decisions.events
    tried = [line["raw"] for line in known if line["event"] == "warm"]
    points = study.grid_points()
    left = sum(
        not any(all(raw.get(name) == value for name, value in point.items()) for raw in tried) for point in points
    )
    if plan.num_trials > left:
        raise UsageError(
            f"--num-trials {plan.num_trials}: the grid has {len(points)} points, of which the --warm-start studies"
            f" tried {len(points) - left}; ask for at most {left}, or take another --sampler"
        )


def _run(plan: Plan, search: Question | None, options: Namespace) -> int:
    from studies.command.console import StudyConsole, beside_name
    from studies.command.follow import addresses, served
    from studies.command.progress import Shown
    from trainer.command.terminal import Terminal

    console = StudyConsole()
    wandb = [f"wandb      {plan.wandb}"] if plan.wandb != "off" else []
    for line in [*plan_lines(plan), *_idle(plan, options), *wandb, *addresses(plan, options)]:
        beside_name(console, line[:NAMES].rstrip(), line[NAMES:], NAMES)

    def on_screen(line: str) -> None:
        Terminal.print(console, line, markup=False, highlight=False, soft_wrap=True)

    with closing(console.log), console.with_errors(), served(plan.folder, options.live, on_screen):
        try:
            with Shown(console) as shown:
                shown.doing("loading Optuna and reading what is on record")
                from studies.running.driver import run_study

                where = {"address": options.address, "dashboard": options.dashboard}
                complete, jobs = run_study(plan, search, console, shown=shown, **where)
            code = _conclude(plan, options, console, complete, jobs)
        except (UsageError, RecordError, OSError) as error:  # said by the caller, when the log is closed
            console.log.write(f"error: {one_line(error)}\n")
            raise
        except ClusterLost as error:  # likewise
            console.log.write(f"error: {_gone(error)}\n")
            raise
        except KeyboardInterrupt:
            if not console.left:
                raise
            code = exit_codes.NO_READER
        console.log.write(f"exit code {code}: {exit_codes.MEANING[code]}\n")
        return code


def _conclude(plan: Plan, options: Namespace, console: StudyConsole, complete: bool, jobs: Jobs) -> int:
    """Print what the study found, or how to continue it; returns the exit code."""
    from studies.command.console import print_command

    again = resume_command()
    if not complete and jobs.budget_reached is None:
        print_command(console, "\ninterrupted; everything so far is on record. Continue with:", again)
        return exit_codes.NO_READER if console.left else exit_codes.INTERRUPTED
    from analysis.page.command import write
    from analysis.report import report
    from studies.command.figures import report_to_mirrors
    from studies.result import reported
    from trainer.command.terminal import near

    report(plan.folder, console, full=options.full)
    console.print(f"Page: {near(write(plan.folder))}", highlight=False, soft_wrap=True)
    report_to_mirrors(plan, reported)
    if jobs.failed:
        failed = "1 run failed and counts as not run. Try it" if jobs.failed == 1 else f"{jobs.failed} runs failed and"
        failed += "" if jobs.failed == 1 else " count as not run. Try them"
        print_command(console, f"{failed} again with:", again)
    if not complete:
        cut = f" and {len(jobs.running)} were interrupted" if jobs.running else ""
        print_command(
            console,
            f"{jobs.budget_reached}: {jobs.left} runs were not started{cut}. Raise it and continue with:",
            again,
        )
        return exit_codes.BUDGET
    return exit_codes.FAULT if jobs.failed else exit_codes.OK
