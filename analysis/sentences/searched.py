"""What was searched, who was stopped and why, and what is still missing, in sentences."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from analysis.recorded.arms import NOT_ENDED
from analysis.recorded.study import Study
from analysis.recorded.trials import NOT_RUN
from analysis.sentences.race import races
from analysis.sentences.search_only import search_only
from analysis.statistics.cost import Cost

STATES = {
    "pruned": "stopped early",
    "collapsed": "collapsed",
    "diverged": "diverged",
    **NOT_RUN,
    "unfinished": "not ended",
}


def searched(study: Study) -> list[str]:
    """How many trials ended how, the ranges, why trials were stopped, and what came from earlier studies."""
    trials = study.search
    if trials.empty and not study.info.get("num_trials"):
        return [f"Study {study.name}: no search, its arms were given."] if len(study.finals) else [_first(study)]
    said = [_first(study), *_stops(trials), *_promoted(study), *_taken_over(study), *races(study)]
    lag = study.setting("search", "lag", 0)
    if lag:
        said.append(
            f"The search was deterministic: every suggestion and judgement rests on the trials up to {lag} before it,"
            " not on who ended first, so that a repetition gives the same table."
        )
    return said


def missing(study: Study, spent: Cost) -> list[str]:
    """``incomplete``, before what rests on it."""
    return [f"{sentence} What follows may change." for sentence in incomplete(study, spent)]


def incomplete(study: Study, spent: Cost) -> list[str]:
    """What a study that is not at its end has not run yet; [] for a complete one."""
    planned = study.info.get("num_trials") or 0
    trials_left = max(0, planned - int((study.search["state"] != "unfinished").sum()))
    stratum = study.declared.stratum
    selected = {study.declared.level(line) for line in study.decisions if line["event"] == "select"}
    compared = set(study.finals["arm_id"])
    not_chosen = [level for level in study.info.get("confirm") or [] if level not in selected]
    not_compared = [
        name for name, choice in study.chosen.items() if set(_arm_ids(choice)) - compared and not search_only(study)
    ]
    runs_left, runs = _runs_left(study, spent)
    parts = [f"{trials_left} of {planned} trials have not ended"] if trials_left else []
    parts += [f"the best arms{_of(not_chosen, stratum)} are not chosen yet"] if not_chosen else []
    parts += [f"the chosen arms{_of(not_compared, stratum)} are not compared yet"] if not_compared else []
    parts += [f"{runs_left} of {runs} runs of the comparison have not ended"] if runs_left else []
    if not parts:
        return []
    why = f" because its budget is spent ({budget})" if (budget := _budget(study, spent)) else ""
    return [f"This study is INCOMPLETE{why}: {', '.join(parts)}."]


def _of(levels: list[str | None], stratum: str | None) -> str:
    return f" of {' and '.join(map(str, levels))}" if stratum else ""


def _arm_ids(choice: list[dict[str, Any]]) -> list[str]:
    return [one["arm_id"] for one in choice if one["arm_id"] is not None]


def _runs_left(study: Study, spent: Cost) -> tuple[int, int]:
    """Runs of the comparison without an end, and all that are known."""
    runs = spent.runs[spent.runs["trial"].isna()]
    trained = study.finals[study.finals["role"] != "untrained"]
    # before ends were noted for the comparison, only the run's own record tells
    over = {
        run_id
        for run_id, problem in zip(trained["run_id"], trained["problem"], strict=True)
        if not problem.startswith(NOT_ENDED)
    }
    return int(((runs["state"] == "unfinished") & ~runs["name"].isin(over)).sum()), len(runs)


def _first(study: Study) -> str:
    trials, seed = study.search, study.info.get("search_seed")
    text = f"Study {study.name}: {len(trials)} trial{'' if len(trials) == 1 else 's'}"
    text += f" on seed {seed}" if len(trials) and seed is not None else ""
    counts = trials["state"].value_counts()
    text += "".join(f", {counts[state]} {words}" for state, words in STATES.items() if state in counts)
    ranges = study.info.get("ranges") or {}
    return (
        f"{text}. Searched: "
        + ("; ".join(f"{name} {words}" for name, words in ranges.items()) or "no ranges on record")
        + "."
    )


def _stops(trials: pd.DataFrame) -> list[str]:
    """Who was stopped at which epoch and by which rule; the reasons on record name single trials' numbers."""
    stopped = trials[(trials["stop_reason"] != "") & trials["epoch"].notna()]
    if stopped.empty:
        return []
    parts = []
    for epoch, group in stopped.groupby("epoch"):
        counts = group["stop_reason"].map(rule_words).value_counts()
        parts.append(f"at epoch {epoch}: " + ", ".join(f"{count} {rule}" for rule, count in counts.items()))
    return [f"Stopped {'; '.join(parts)}."]


def _promoted(study: Study) -> list[str]:
    """How many trials had to wait at a rung and then went on from their checkpoint."""
    waited = {line["trial"] for line in study.decisions if line["event"] == "rung" and line.get("wait")}
    went = {line["trial"] for line in study.decisions if line["event"] == "promote"}
    return [f"Of {len(waited)} trials that had to wait at a rung, {len(went)} went on later."] if waited else []


def rule_words(reason: str) -> str:
    """The rule that stopped a trial, without the numbers of that trial."""
    if reason.startswith("collapsed"):
        return "collapsed (" + re.sub(r".*is below (\S+) at epoch.*", r"rank of z_agg below \1", reason) + ")"
    if "not finite" in reason:
        return "without a finite score"
    return re.split(r" of \d+ | at epoch ", reason)[0] + (
        " of the peers" if reason.startswith("not in the top") else ""
    )


def _taken_over(study: Study) -> list[str]:
    if study.warm.empty:
        return []
    by_study = study.warm.groupby("from", sort=False).size()
    counts = [
        f"{count} trial{'' if count == 1 else 's'} taken over from study {name}" for name, count in by_study.items()
    ]
    parts = " and ".join(counts)
    said = [f"Warm start: {parts}; the sampler and the stopping rule knew them, and they are not counted above."]
    labels = {key[0]: name for key, name in study.arms.names.items() if key[1] in ("best", "candidate")}
    warm = [one["arm_id"] for choice in study.chosen.values() for one in choice if one["trial"] < 0]
    theirs = [labels[arm_id] for arm_id in warm if arm_id in labels]
    return [*said, f"Found by an earlier study, not by this search: {', '.join(theirs)}."] if theirs else said


def _budget(study: Study, spent: Cost) -> str:
    """The limit that is reached, by the rule of the driver: all sessions' time, each at its own price."""
    noted = [line for line in study.decisions if line["event"] in ("begin", "session")]
    if noted and noted[-1]["event"] == "session" and noted[-1].get("budget", "not noted") is None:
        return ""  # the last driver ended for another reason
    hours, usd = spent.wall_seconds / 3600, spent.usd
    in_hours, in_usd = study.setting("limits", "budget_hours"), study.setting("limits", "budget_usd")
    if in_hours is not None and hours >= in_hours:
        return f"{hours:.3g} of {in_hours:g} hours"
    if in_usd is not None and usd >= in_usd:
        return f"{usd:.2f} of {in_usd:g} USD"
    return ""
