"""``--until-resolved``: whether the verdicts are in, asked of the analysis, and seeds are added where they are not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from studies.engine.jobs import Jobs  # it imports Optuna


def more_seeds(jobs: Jobs) -> bool:
    """Look at the primary contrasts once their planned runs have ended; True if there is more to run.

    The look is on record before anything starts, and is not repeated by a restarted driver.
    """
    if jobs.left or jobs.running or not jobs.may_start() or not jobs.comparison.may_look:
        return False
    from analysis.recorded.study import load
    from analysis.statistics.differences import differences  # pandas
    from analysis.statistics.family import NO_VERDICT, NOT_RESOLVED

    jobs.comparison.write()
    found = differences(load(jobs.plan.folder), ended=True)
    primary = found[found["primary"]]
    # where no pair of runs has a value, seeds are not what is missing
    open_ = primary[primary["verdict"].isin([NOT_RESOLVED, NO_VERDICT]) & (primary["n"] > 0)]
    return jobs.comparison.look(sorted(open_["question"]))
