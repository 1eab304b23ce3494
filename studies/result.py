"""What a study found, for a program."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """The numbers behind a study's report.

    Attributes:
        folder: of the study.
        code: one of :mod:`studies.command.exit_codes`.
        table: a row per compared arm, see ``analysis.statistics.comparison_table.comparison_table``.
        contrasts: a row per comparison, see ``analysis.statistics.differences``; ``primary`` marks the declared
            ones.
        runs: a row per run of every compared arm, see ``analysis.recorded.study.Study.finals``.
        trials: a row per search trial.
        verdict: the report's sentences.
    """

    folder: Path
    code: int
    table: pd.DataFrame
    contrasts: pd.DataFrame
    runs: pd.DataFrame
    trials: pd.DataFrame
    verdict: list[str]

    def __repr__(self) -> str:
        """A line, as a notebook shows what a cell returns; the report is printed above it."""
        parts = {"arms": self.table, "contrasts": self.contrasts, "runs": self.runs, "trials": self.trials}
        held = ", ".join(f"{len(frame)} {name}" for name, frame in parts.items())
        return f"Result({str(self.folder)!r}, code={self.code}: {held})"

    @classmethod
    def of(cls, folder: Path, code: int) -> Result:
        """Read a study's folder. Raises UsageError if it holds no study."""
        from analysis.recorded.study import load
        from analysis.sentences.verdict import sentences
        from analysis.statistics.comparison_table import comparison_table
        from analysis.statistics.differences import differences

        study = load(folder)
        table = comparison_table(study)
        return cls(folder, code, table, differences(study), study.finals, study.search, sentences(study, table))


def reported(folder: Path) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """The tables of a study by their names, and in words: the verdict of each declared contrast, which has none before
    every planned seed has ended, which share of each arm's runs passed its gate, and every sentence of the report."""
    import analysis
    from analysis.frames.of_study import NOT_RUN
    from analysis.page.facts import gather
    from analysis.sentences.verdict import sentences
    from analysis.tables.paper_tables import TABLES, paper_tables

    frames = analysis.load(folder)
    (study,) = frames.loaded
    tables = {name: paper_tables(frames, name)[0] for name in TABLES}
    facts, gates = gather(study), tables["gates"].drop_duplicates("arm")
    verdicts = {row["question"]: f"{row['verdict']}: {_difference(row)}" for _, row in facts.primary.iterrows()}
    said: dict[str, Any] = {
        "verdict": verdicts | dict.fromkeys(facts.absent, NOT_RUN),
        "gate": {row["arm"]: f"{row['arm_passed']} of {row['arm_judged']} passed" for _, row in gates.iterrows()},
        "said": sentences(study, facts.table),
    }
    return tables, said


def _difference(row: pd.Series) -> str:
    from analysis.rendering.render import interval

    return interval(row["mean"], row["adjusted_low"], row["adjusted_high"])
