"""``python -m studies power RESULTS``: what recorded seeds could resolve, and how many it takes to resolve more."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.command.cli import Parser
from trainer.errors import UsageError
from trainer.record.copies import copies
from trainer.record.resolvable import MAX_SEEDS, MIN_SEEDS, POWER, detectable, seeds_for, step

if TYPE_CHECKING:
    from analysis.recorded.study import Study

ABOUT = (
    "From the records of one or several studies, for each primary contrast: the s.d. of the paired difference over"
    " seeds, the smallest true difference that its seeds resolve, and the seeds that another would take. A contrast is"
    " judged by a paired t test where Holm's rule is strictest: nothing else is resolved before it."
)
EXAMPLES = (
    "python -m studies power results/step2_rate_digits",
    "python -m studies power results/* --difference 3 --power 0.9 --contrasts 1",
    "python -m studies power results/step2_rate_digits --difference 3 --json",
)


def parser() -> Parser:
    p = Parser(prog="python -m studies power", description=ABOUT, examples=EXAMPLES)
    p.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="results/<study>, or a folder of such")
    p.add_argument(
        "--difference", type=float, metavar="D", help="true difference to plan seeds for, in the contrast's own unit"
    )
    p.add_argument("--power", type=float, default=POWER, help=f"part of studies that resolve it (default: {POWER})")
    p.add_argument(
        "--contrasts", type=int, metavar="M", help="contrasts judged together (default: as many as the study declared)"
    )
    p.add_argument("--json", action="store_true", help="print a list of objects instead of tables")
    return p


def main(argv: list[str]) -> int:
    """Print tables or JSON; returns 0.

    Raises:
        UsageError: a wrong option, no study there, a damaged record, or no contrast that was compared.
    """
    o = parser().parse_args(argv)
    if o.difference is not None and not 0 < abs(o.difference) < math.inf:
        raise UsageError(f"--difference {o.difference:g}: must be a number other than 0")
    if not 0.5 <= o.power <= 0.999:
        raise UsageError(f"--power {o.power:g}: must be 0.5 to 0.999")
    if o.contrasts is not None and not 1 <= o.contrasts <= 100:
        raise UsageError(f"--contrasts {o.contrasts}: must be 1 to 100")
    folders = list(dict.fromkeys(folder for given in o.results for folder in _studies(given)))
    twice = copies(folders)
    for copy, of in twice.items():
        print(f"note: counted once: the runs of {copy} are those of {of}", file=sys.stderr)
    folders = [folder for folder in folders if folder not in twice]
    from analysis.recorded.study import load  # pandas takes most of a second; mistakes must not wait for it

    found = [(study, planned(study, o.difference, o.power, o.contrasts)) for study in map(load, folders)]
    if not any(rows for _, rows in found):
        raise UsageError(
            f"{', '.join(map(str, folders))}: no primary contrast has two seeds on record, so that no spread is known;"
            " continue the study with --resume, or give another"
        )
    if o.json:
        print(json.dumps([row for _, rows in found for row in rows], indent=1, allow_nan=False))
    else:
        _tables(found, o.difference, o.power)
    return 0


def planned(study: Study, difference: float | None, power: float, contrasts: int | None) -> list[dict[str, Any]]:
    """One row per primary contrast of which the spread is known.

    ``resolvable`` is the smallest true difference resolved with ``power`` at the seeds on record, None below
    ``MIN_SEEDS``; ``seeds_for_*`` is None where it takes more than ``MAX_SEEDS`` seeds or no difference was given.
    """
    from analysis.statistics.differences import compare_arms, resolve, same_arm

    family, looks = contrasts or len(study.declared.contrasts), len(study.looks)
    level, rows = step(family, looks), []
    for contrast in study.declared.contrasts:
        comparison = resolve(study, contrast)
        if comparison is None or same_arm(study, *comparison[1:]):
            continue
        one = compare_arms(study, *comparison)
        if one.n < 2 or not one.spread > 0:
            continue
        rows.append(
            {
                "study": study.name,
                "contrast": contrast.question,
                "metric": contrast.metric.removesuffix("@M"),
                "unit": contrast.unit,
                "difference_observed": one.mean,
                "sd": one.spread,
                "seeds": one.n,
                "contrasts": family,
                "looks": looks,
                "power": power,
                "resolvable": detectable(one.n, level, power) * one.spread if one.n >= MIN_SEEDS else None,
                "seeds_for_observed": seeds_for(one.mean, one.spread, level, power),
                "difference": difference,
                "seeds_for_difference": None if difference is None else seeds_for(difference, one.spread, level, power),
            }
        )
    return rows


def _studies(given: Path) -> Iterator[Path]:
    """The study folder, or those in a folder of several."""
    if not given.is_dir():
        raise UsageError(f"{given}: there is no such folder; give results/<study>")
    inside = [given] if (given / "study.json").is_file() else sorted(file.parent for file in given.glob("*/study.json"))
    if not inside:
        raise UsageError(f"{given}: holds no study.json, nor does any folder in it; give results/<study>")
    yield from inside


def _tables(found: list[tuple[Study, list[dict[str, Any]]]], difference: float | None, power: float) -> None:
    from analysis.rendering.decimals import decimals
    from analysis.rendering.layout import WIDTH, Sheet, say, show
    from analysis.rendering.render import number, smallest
    from trainer.command.terminal import Terminal

    console = Terminal() if sys.stdout.isatty() else Terminal(width=min(WIDTH, 80))
    for study, rows in found:
        if not rows:
            say(f"{study.name}: no primary contrast has two seeds on record", console)
            continue
        columns = ["contrast", "seeds", "observed", "s.d.", "resolves", "seeds for\nobserved"]
        columns += [] if difference is None else [f"seeds for\n{abs(difference):g}"]
        cells = []
        for row in rows:
            digits = decimals(row["metric"])
            own = [number(row["difference_observed"], digits, True), number(row["sd"], digits)]
            needed = [row["seeds_for_observed"], *([] if difference is None else [row["seeds_for_difference"]])]
            seeds = [str(n) if n else f"> {MAX_SEEDS}" for n in needed]
            cells.append([row["contrast"], str(row["seeds"]), *own, smallest(row["resolvable"], digits), *seeds])
        looks = f", {rows[0]['looks']} looks" if rows[0]["looks"] > 1 else ""
        show(
            Sheet(f"{study.name}: Holm over {rows[0]['contrasts']}{looks}, power {100 * power:g} %", columns, cells),
            console,
        )
        few = min(row["seeds"] for row in rows)
        low, high = (_times(few, tail) for tail in (0.025, 0.975))
        say(f"An s.d. from {few} seeds is known to {low:.2g} to {high:.2g} times itself (95 %).", console)


def _times(n: int, tail: float) -> float:
    """A bound of the true s.d. as a multiple of that of ``n`` normal values."""
    from scipy.special import chdtri

    return math.sqrt((n - 1) / chdtri(n - 1, tail))
