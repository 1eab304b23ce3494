"""A search for two objectives: which trials no other one beats in both."""

from __future__ import annotations

import pandas as pd

from analysis.recorded.study import Study
from analysis.recorded.trials import all_trials
from analysis.rendering.render import number

ACCURACY, ACTION = "objective.linacc", "objective.r2_action"


def two_objectives(study: Study) -> bool:
    """Whether the study searched for a front of linear accuracy and R2 of the actions."""
    return set(study.setting("search", "objectives", ())) == {"linacc", "r2_action"}


def measured(study: Study) -> pd.DataFrame:
    """Trials with both objectives, those of earlier studies included; ``front`` marks the ones on the front.

    Only trials that reached the end can be on it: a score at an earlier epoch does not stand beside theirs.
    """
    frame = all_trials(study.search, study.warm).dropna(subset=[ACCURACY, ACTION]).reset_index(drop=True)
    ended = frame[frame["state"] == "complete"]
    on_front = []
    for index, trial in ended.iterrows():
        at_least = (ended[ACCURACY] >= trial[ACCURACY]) & (ended[ACTION] >= trial[ACTION])
        above = (ended[ACCURACY] > trial[ACCURACY]) | (ended[ACTION] > trial[ACTION])
        if not (at_least & above).any():
            on_front.append(index)
    return frame.assign(front=frame.index.isin(on_front))


def front_found(study: Study) -> list[str]:
    """The front in a sentence; nothing for a study with one objective."""
    if not two_objectives(study):
        return []
    front = measured(study).query("front").sort_values(ACCURACY, ascending=False)
    if front.empty:
        return ["Pareto front of linear accuracy and R2 of the actions: no trial has reached the end."]
    parts = [
        f"{study.declared.named(trial.to_dict())} ({number(trial[ACCURACY])} percent, R2 {number(trial[ACTION], 2)})"
        for _, trial in front.iterrows()
    ]
    return [f"Pareto front of linear accuracy and R2 of the actions, on the search's one seed: {', '.join(parts)}."]
