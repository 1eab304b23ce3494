"""The command of the replay: reads what was recorded, replays, and prints."""

from __future__ import annotations

import sys
from argparse import Namespace
from functools import partial
from typing import TYPE_CHECKING

from studies.replay.curves import MISSING
from studies.replay.options import KINDS, MIN_ADVISED, USUAL, check, numbers, parser
from trainer.errors import UsageError

if TYPE_CHECKING:
    from studies.replay.compare import After
    from studies.replay.curves import Recorded
    from studies.replay.schedulers import Strategy
    from studies.replay.trials import Pool


def main(argv: list[str]) -> int:
    """Replay and print; returns 0.

    Raises:
        UsageError: a wrong option, or records that cannot be replayed.
    """
    o = parser().parse_args(argv)
    check(o)
    kinds = _kinds(o.scheduler)

    # scipy takes most of a second to import; --help and mistakes must not wait for it
    from rich.progress import track

    from studies.replay import report
    from studies.replay.compare import replay
    from studies.replay.curves import complete, read_curves
    from studies.replay.rungs import rung
    from studies.replay.schedulers import strategies
    from studies.replay.simulate import Machine
    from studies.replay.trials import Pool
    from trainer.command.terminal import Terminal

    seeds = numbers("--run-seeds", o.run_seeds) if o.run_seeds else None
    recorded = read_curves(o.records, o.metric, o.epochs, seeds, o.bracket_by)
    graces = numbers("--grace", o.grace)
    gates, by = (numbers("--gate", o.gate), "--gate") if o.gate else (graces, "--grace")
    compared = strategies(
        recorded.epochs, kinds, numbers("--eta", o.eta), graces, gates, numbers("--top-k", o.top_k), by
    )
    unmeasured: list[str] = []
    if not o.scheduler and o.missing == MISSING[0]:
        compared, unmeasured = _that_can_decide(compared, recorded)
    decided = sorted({epoch for strategy in compared for epoch in strategy.epochs})
    recorded = complete(recorded, decided, o.missing)
    pool = Pool(recorded, o.seconds_per_epoch)
    noise = _noise(o, pool)
    machine = Machine(
        o.workers, o.startup_seconds, o.checkpoint_every, o.failures_per_hour, o.preemptions_per_hour, o.retries
    )

    terminal = sys.stdout.isatty()
    console = Terminal(width=None if terminal else 140)
    say = partial(console.print, highlight=False, soft_wrap=True, markup=False)
    for line in [*_head(o, recorded, pool, noise), *unmeasured, *recorded.why_left_out(), *recorded.notes]:
        say(line)
    errors = Terminal(stderr=True)
    rows = replay(
        pool,
        compared,
        machine,
        orders=o.orders,
        seed=o.seed,
        trials=o.trials,
        noise=noise,
        after=_after(o),
        watch=lambda orders: track(
            orders, "arrival orders", console=errors, transient=True, disable=not errors.is_terminal
        ),
    )
    rungs = [rung(pool, epoch, o.seed, o.resamples) for epoch in decided]
    console.print()
    report.tables(rows, rungs, console, noise is not None)
    console.print()
    for line in report.sentences(rows):
        say(line)
    if o.out is not None:
        for path in report.write_csv(rows, rungs, o.out, noise is not None):
            say(f"written: {path}")
    return 0


def _kinds(scheduler: str | None) -> tuple[str, ...]:
    """Of ``--scheduler``."""
    kinds = USUAL if scheduler is None else tuple(word.strip() for word in scheduler.split(","))
    if (unknown := next((word for word in kinds if word not in KINDS), None)) is not None:
        raise UsageError(f"--scheduler {unknown!r}: must be one or several of {', '.join(KINDS)}, joined by commas")
    return kinds


def _noise(o: Namespace, pool: Pool) -> float | None:
    """S.d. of what is added to resampled curves; None where those on record are enough for all trials."""
    from studies.replay.trials import NOISE

    if o.trials is not None and o.trials > len(pool.arms):
        return o.noise if o.noise is not None else NOISE * pool.spread
    if o.noise is not None:
        raise UsageError(
            f"--noise {o.noise:g}: only resampled curves have noise; --trials must exceed "
            f"the {len(pool.arms)} arms on record"
        )
    return None


def _that_can_decide(compared: list[Strategy], recorded: Recorded) -> tuple[list[Strategy], list[str]]:
    """Of the strategies nobody asked for by name, those whose epochs were measured, and a line on each of the others.

    Raises:
        UsageError: none is left to be compared with full length.
    """
    from studies.replay.curves import measured

    kept = [strategy for strategy in compared if measured(recorded, strategy.epochs)]
    left_out = [strategy for strategy in compared if strategy not in kept]
    lines = [
        f"not compared: {strategy.name}: {recorded.metric} was not measured at epoch"
        f" {', '.join(map(str, strategy.epochs))} in any full-length run; a study run with --probe-epochs"
        f" {','.join(map(str, strategy.epochs))} has it"
        for strategy in left_out
    ]
    if all(strategy.kind == "full" for strategy in kept):
        raise UsageError(f"no strategy can decide on these runs; {'; '.join(lines)}")
    return kept, lines


def _head(o: Namespace, recorded: Recorded, pool: Pool, noise: float | None) -> list[str]:
    n, runs = len(pool.arms), len(recorded.curves)
    lines = [
        (
            f"on record  {n} arms, {runs} runs of {recorded.epochs} epochs "
            f"({sum(c.diverged for c in recorded.curves)} diverged), ranked by {recorded.metric}"
        ),
        (
            f"each order {o.trials or n} trials on {o.workers} workers, {o.startup_seconds:g} s to start one;"
            f" {o.orders} random orders, seed {o.seed}; then"
            f" {_after(o).runs} full-length runs as race, controls and confirmation"
        ),
    ]
    if o.bracket_by is not None:
        values = ", ".join(sorted(set(pool.brackets)))
        lines.append(
            f"ranked within each {o.bracket_by} ({values}): every strategy keeps its K or 1/eta of each, and regret is"
            " the mean of what the pick of each gives up"
        )
    if noise is not None:
        lines.append(
            f"RESAMPLED  the {o.trials} trials are copies of these {n} arms' curves with noise "
            f"(s.d. {noise:.3g}): costs are to be believed, regret is not evidence about real arms"
        )
    if o.orders < MIN_ADVISED:
        lines.append(f"note: {o.orders} orders; intervals are meant for {MIN_ADVISED} or more")
    if pool.untimed:
        lines.append("note: no seconds on record and no --seconds-per-epoch: an epoch counts as 1 s")
    return [*lines, "intervals are over arrival orders of the same arms: they do not say what other arms would give"]


def _after(o: Namespace) -> After:
    from studies.replay.compare import After

    return After(o.confirm_arms, o.twins, o.controls, o.confirm_seeds, o.race_runs)
