"""By which scores a search chose, and where the smoothed and the raw ones disagree, in sentences."""

from __future__ import annotations

from typing import Any

from analysis.recorded.declared import LINACC
from analysis.recorded.study import Study
from analysis.rendering.decimals import decimals
from analysis.rendering.render import number


def how_chosen(study: Study) -> list[str]:
    """That a search in another metric ranked by accuracy, and a sentence on each group whose choice was to rest on
    smoothed scores; [] for a search in accuracy by raw ones."""
    lines = {study.declared.level(line): line for line in study.decisions if line["event"] == "select"}
    noted = {level: line for level, line in lines.items() if "choose" in line}
    metric = study.declared.metric
    said = [
        f"Trials were stopped and chosen by linear accuracy of z_agg, not by the study's metric ({metric.words}): a"
        " best arm is the most accurate one of its search."
    ] * (bool(lines) and metric.name != LINACC)
    for level, line in noted.items():
        group = f", {study.declared.stratum} {level}" if study.declared.stratum else ""
        if line["choose"] != "smoothed":
            said.append(f"Chosen by raw scores{group}: {line.get('not_smoothed', 'no surface was fitted')}.")
            continue
        points = len(line["fitted"])
        head = f"{_verb(study, level)} by scores smoothed over the searched settings ({points} trials){group}"
        said.append(f"{head}: {_against(line)}.")
    return said


def _against(line: dict[str, Any]) -> str:
    """The winner's two scores, and the raw best's where that is another."""
    digits = decimals(LINACC)  # whatever the study's metric is, trials are ranked by accuracy

    def scores(one: list[Any]) -> str:
        return f"raw {number(one[1], digits)}, smoothed {number(one[2], digits)}"

    first, raw = line["by_smoothed"][0], line["by_raw"][0]
    if first[0] == raw[0]:
        return f"{_trial(first[0])} ({scores(first)}), which leads by raw scores too"
    return f"{_trial(first[0])} ({scores(first)}); by raw scores it would have been {_trial(raw[0])} ({scores(raw)})"


def _verb(study: Study, level: str | None) -> str:
    """What the order of the search decided: with a race, only who runs in it."""
    raced = any(line["event"] == "race" and study.declared.level(line) == level for line in study.decisions)
    return "Ordered for the race" if raced else "Chosen"


def _trial(trial: int) -> str:
    return f"t{trial:03d}" if trial >= 0 else f"trial {-trial} of those taken over"
