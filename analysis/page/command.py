"""``python -m analysis report``: a page per study, or one for several."""

from __future__ import annotations

from pathlib import Path

from trainer.command.cli import Parser

NAME = "report.html"
EXAMPLES = (
    "python -m analysis report results/step2_rate_digits",
    "python -m analysis report results/* --out page.html",
)
EXITS = {0: "written", 2: "wrong command, or a record that cannot be read"}


def main(argv: list[str]) -> int:
    """Exit code.

    Raises:
        UsageError: a folder holds no study, or a record is damaged.
    """
    parser = Parser(
        prog="python -m analysis report",
        description=(
            "Write a page that opens in any browser without a network: the answer, the compared arms, figures, every"
            " trial and run, cost, and how the numbers are made. Of a study that is not at its end it says what is"
            " missing."
        ),
        examples=EXAMPLES,
        exits=EXITS,
    )
    holds = "a folder with study.json, decisions.jsonl and runs/"
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY", help=holds)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.html", help=f"one page for all of them (default: STUDY/report/{NAME} of each)"
    )
    options = parser.parse_args(argv)
    from analysis.page.facts import gather
    from analysis.page.writing import page
    from analysis.recorded.study import load
    from trainer.errors import UsageError, otherwise
    from trainer.record.run import write_atomically

    if options.out is not None and options.out.is_dir():
        raise UsageError(f"--out {options.out}: is a folder; give the name of a file, as {options.out / NAME}")
    if options.out is not None:
        write_atomically(options.out, page([gather(load(folder)) for folder in options.studies]).encode())
        print(options.out)
        return 0
    with otherwise(f"name a file of yours, as --out {NAME}"):
        for folder in options.studies:
            print(write(folder))
    return 0


def write(folder: Path) -> Path:
    """Write the page of one study beside its report; returns its path.

    Raises:
        UsageError: as ``analysis.recorded.study.load``.
    """
    from analysis.page.facts import gather
    from analysis.page.writing import page
    from analysis.recorded.study import load
    from trainer.record.run import write_atomically

    path = folder / "report" / NAME
    write_atomically(path, page([gather(load(folder))]).encode())
    return path
