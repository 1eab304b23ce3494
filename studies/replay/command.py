"""The command line of the replay."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from studies.engine.stopping import Rule
from studies.replay.curves import METRIC, MISSING
from trainer.cli import Parser
from trainer.errors import UsageError

if TYPE_CHECKING:
    from studies.replay.compare import After
    from studies.replay.curves import Recorded
    from studies.replay.schedulers import Strategy
    from studies.replay.trials import Pool

KINDS = ("full", "top-k", "gate", "asha", "asha-stop", "gates", "hyperband", "median")
USUAL = KINDS[:4]
MIN_ADVISED = 500
ABOUT = (
    "Recorded full-length learning curves through the study's own decision code: what would each search strategy have"
    " cost, and how much worse than the best on record is what it picks? All full length, one epoch and then the best"
    " K, a fixed gate, and a study's stopping rules meet the same random arrival orders."
)
EXAMPLES = (
    "python -m studies replay studies/replay/recorded/rotation.jsonl.gz",
    (
        "python -m studies replay studies/replay/recorded/colour.jsonl.gz --trials 24 --grace 4,10 --bracket-by"
        " objective.teacher"
    ),
)


def parser() -> Parser:
    p = Parser(prog="python -m studies replay", description=ABOUT, examples=EXAMPLES)
    p.add_argument(
        "records",
        nargs="+",
        type=Path,
        metavar="RECORDS",
        help="results/<study>, or any folder or file of runs' records.jsonl, or a .jsonl.gz of several",
    )
    p.add_argument(
        "--scheduler",
        help=f"which to compare, of {', '.join(KINDS)} (default: those of {', '.join(USUAL)} that the"
        " records allow; full is always there)",
    )
    p.add_argument(
        "--eta",
        default=str(Rule.usual["eta"]),
        help=f"rules keep about one in eta; a list compares several (default: {Rule.usual['eta']})",
    )
    p.add_argument(
        "--grace",
        default=str(Rule.usual["grace"]),
        help=f"the first rung, an epoch; a list compares several (default: {Rule.usual['grace']})",
    )
    p.add_argument("--gate", help="epochs of the fixed gate (default: those of --grace)")
    p.add_argument("--top-k", default="3", help="how many go on to full length after one epoch (default: 3)")
    p.add_argument(
        "--metric", default=METRIC, help=f"what ranks, on validation; M: the run's number of views (default: {METRIC})"
    )
    p.add_argument("--epochs", type=int, help="full length (default: the longest that a run completed)")
    p.add_argument(
        "--missing",
        choices=MISSING,
        default=MISSING[0],
        help="runs without the metric where a strategy decides (default: leave-out)",
    )
    p.add_argument(
        "--run-seeds",
        help="runs of these seeds, as 0,1,2: an order draws one per arm (default: the one seed with the most runs)",
    )
    p.add_argument(
        "--bracket-by",
        metavar="KEY",
        help="rank within each value of a setting, as a study does by the levels of its strata",
    )
    p.add_argument("--orders", type=int, default=MIN_ADVISED, help=f"random arrival orders (default: {MIN_ADVISED})")
    p.add_argument(
        "--trials",
        type=int,
        help="per order (default: every arm on record); above their number, curves are resampled with noise",
    )
    p.add_argument(
        "--noise", type=float, help="s.d. of resampled curves (default: 0.25 s.d. of the full-length values)"
    )
    p.add_argument("--seed", type=int, default=0, help="of orders, noise and failures (default: 0)")
    p.add_argument("--workers", type=int, default=2, help="trials at once (default: 2)")
    p.add_argument("--startup-seconds", type=float, default=3.0, help="to take up a trial (default: 3)")
    p.add_argument("--seconds-per-epoch", type=float, help="default: each run's own on record")
    p.add_argument("--failures-per-hour", type=float, default=0.0, help="of a busy worker (default: 0)")
    p.add_argument(
        "--preemptions-per-hour", type=float, default=0.0, help="of a busy worker; not counted as failures (default: 0)"
    )
    p.add_argument("--retries", type=int, default=3, help="failures of a trial that are forgiven (default: 3)")
    p.add_argument("--checkpoint-every", type=int, default=1, help="epochs (default: 1)")
    p.add_argument(
        "--confirm-arms",
        type=int,
        default=2,
        help="arms confirmed after the search (default: 2, the winners of two levels, as in step2_rate.py)",
    )
    p.add_argument("--twins", type=int, default=2, help="references of these (default: 2, of each level's best)")
    p.add_argument("--controls", type=int, default=1, help="control arms run beside the search (default: 1)")
    p.add_argument("--confirm-seeds", type=int, default=4, help="seeds of each of these (default: 4)")
    p.add_argument(
        "--race-runs", type=int, default=6, help="runs of the race before that (default: 6, three of two levels)"
    )
    p.add_argument(
        "--resamples", type=int, default=1000, help="of the bootstrap of the rank correlations (default: 1000)"
    )
    p.add_argument(
        "--out",
        type=Path,
        help="folder for replay_strategies.csv and replay_rungs.csv (default: tables are only printed)",
    )
    return p


def main(argv: list[str]) -> int:
    """Replay and print; returns 0.

    Raises:
        UsageError: a wrong option, or records that cannot be replayed.
    """
    o = parser().parse_args(argv)
    _check(o)
    kinds = USUAL if o.scheduler is None else tuple(word.strip() for word in o.scheduler.split(","))
    unknown = next((word for word in kinds if word not in KINDS), None)
    if unknown is not None:
        raise UsageError(f"--scheduler {unknown!r}: must be one or several of {', '.join(KINDS)}, joined by commas")

    # scipy takes most of a second to import; --help and mistakes must not wait for it
    from rich.progress import track

    from studies.replay import report
    from studies.replay.compare import replay
    from studies.replay.curves import complete, read_curves
    from studies.replay.rungs import rung
    from studies.replay.schedulers import strategies
    from studies.replay.simulate import Machine
    from studies.replay.trials import NOISE, Pool
    from trainer.terminal import Terminal

    seeds = _numbers("--run-seeds", o.run_seeds) if o.run_seeds else None
    recorded = read_curves(o.records, o.metric, o.epochs, seeds, o.bracket_by)
    graces = _numbers("--grace", o.grace)
    gates, by = (_numbers("--gate", o.gate), "--gate") if o.gate else (graces, "--grace")
    compared = strategies(
        recorded.epochs, kinds, _numbers("--eta", o.eta), graces, gates, _numbers("--top-k", o.top_k), by
    )
    compared, unmeasured = (
        (compared, []) if o.scheduler or o.missing != MISSING[0] else _that_can_decide(compared, recorded)
    )
    decided = sorted({epoch for strategy in compared for epoch in strategy.epochs})
    recorded = complete(recorded, decided, o.missing)
    pool = Pool(recorded, o.seconds_per_epoch)
    noise = None
    if o.trials is not None and o.trials > len(pool.arms):
        noise = o.noise if o.noise is not None else NOISE * pool.spread
    elif o.noise is not None:
        raise UsageError(
            f"--noise {o.noise:g}: only resampled curves have noise; --trials must exceed "
            f"the {len(pool.arms)} arms on record"
        )
    machine = Machine(
        o.workers, o.startup_seconds, o.checkpoint_every, o.failures_per_hour, o.preemptions_per_hour, o.retries
    )

    terminal = sys.stdout.isatty()
    console = Terminal(width=None if terminal else 140)
    for line in [*_head(o, recorded, pool, noise), *unmeasured, *recorded.why_left_out(), *recorded.notes]:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
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
        watch=lambda numbers: track(
            numbers, "arrival orders", console=errors, transient=True, disable=not errors.is_terminal
        ),
    )
    rungs = [rung(pool, epoch, o.seed, o.resamples) for epoch in decided]
    console.print()
    report.tables(rows, rungs, console, noise is not None)
    console.print()
    for line in report.sentences(rows):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    if o.out is not None:
        for path in report.write_csv(rows, rungs, o.out, noise is not None):
            console.print(f"written: {path}", highlight=False, soft_wrap=True, markup=False)
    return 0


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


def _check(o: Namespace) -> None:
    least = {
        "orders": 1,
        "resamples": 1,
        "trials": 2,
        "workers": 1,
        "checkpoint_every": 1,
        "epochs": 1,
        "retries": 0,
        "confirm_arms": 0,
        "twins": 0,
        "controls": 0,
    }
    least |= {
        "confirm_seeds": 0,
        "race_runs": 0,
        "seed": 0,
        "noise": 0,
        "startup_seconds": 0,
        "failures_per_hour": 0,
        "preemptions_per_hour": 0,
    }
    for name, bound in least.items():
        value = getattr(o, name)
        if value is not None and not bound <= value < float("inf"):
            raise UsageError(f"--{name.replace('_', '-')} {value:g}: must be at least {bound} and finite")
    if o.twins > o.confirm_arms:
        raise UsageError(
            f"--twins {o.twins}: only a confirmed arm has one, so at most --confirm-arms {o.confirm_arms}; lower"
            " --twins or raise --confirm-arms"
        )
    if o.seconds_per_epoch is not None and not 0 < o.seconds_per_epoch < float("inf"):
        raise UsageError(f"--seconds-per-epoch {o.seconds_per_epoch:g}: must be above 0 and finite")


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"{option} {text!r}: give a whole number, or several joined by commas") from None
