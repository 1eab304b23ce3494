"""The options of a study that searches. No torch, no ray."""

from __future__ import annotations

from studies.engine.choosing import RULES as CHOICES
from studies.engine.question import Question
from studies.engine.settings import Stopping
from studies.engine.stopping import RULES, Rule
from trainer.command.cli import Parser

SAMPLERS = ("tpe", "random", "qmc", "grid")
OBJECTIVES = ("linacc", "r2_action")
LAG = 4


def add_search_options(p: Parser, study: Question) -> None:
    """Put them into their group; ranges in its title are those of the declared space."""
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
    g.add_argument(
        "--search-seed", type=int, help="of the sampler; the trials' runs keep theirs (default: that of the trials)"
    )
    g.add_argument("--top-k", type=int, help=f"arms {of_each}that the search hands on (default: 3; 1 with --quick)")
    g.add_argument(
        "--race",
        type=int,
        help=(
            "fresh seeds on which they run against each other, the winner alone being compared on the seed list;"
            " 0 compares all of them there (default: 1)"
        ),
    )
    g.add_argument("--no-verdict", action="store_true", help="search only, and compare nothing")
    g.add_argument(
        "--choose",
        choices=CHOICES,
        help=(
            "smoothed: confirm the best by a surface fitted to the scores at the furthest epoch, with the raw ones"
            " beside it (default: raw)"
        ),
    )
    rules = ", ".join(f"{name} {rule.says}" for name, rule in {**RULES, **study.rules}.items())
    g.add_argument(
        "--stopping",
        choices=[*RULES, *study.rules],
        metavar="RULE",
        # argparse has a meaning of its own for a percent sign
        help=f"who goes on at a rung: {rules.replace('%', '%%')} (default: asha; gate with --deterministic)",
    )
    usual = Rule.usual
    g.add_argument(
        "--grace",
        type=int,
        help=f"first epoch at which a trial may be stopped (default: {usual['grace']}; 5 for gate)",
    )
    g.add_argument(
        "--eta",
        type=int,
        help=f"about one in so many goes on at each rung (default: {usual['eta']}; 2 for gate)",
    )
    g.add_argument(
        "--brackets",
        type=int,
        help="trials take turns in starting at a later rung (default: 1; for hyperband as many as rungs)",
    )
    if study.strata:
        g.add_argument(
            "--one-bracket",
            action="store_true",
            help=f"judge trials of every {study.strata.name} together (default: those of each among themselves)",
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
