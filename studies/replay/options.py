"""The options of the replay, and what is wrong with their values."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from studies.engine.stopping import RULES, Rule
from studies.replay.curves import METRIC, MISSING
from trainer.command.cli import Parser
from trainer.errors import UsageError

RULED = {"gates" if name == "gate" else name: rule for name, rule in RULES.items() if name != "none"}
"""Rules of a study that stop somebody, by what ``--scheduler`` calls them."""
KINDS = ("full", "top-k", "gate", *RULED)
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


def check(o: Namespace) -> None:
    """Raises UsageError for a number out of its range."""
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


def numbers(option: str, text: str) -> tuple[int, ...]:
    """The whole numbers of a list, each once. Raises UsageError for anything else."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise UsageError(f"{option} {text!r}: give a whole number, or several joined by commas") from None
