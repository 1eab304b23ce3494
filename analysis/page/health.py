"""Whether the numbers may be believed: controls, collapse, gates, missing values, failures. Each counts rows of the
table of trials and runs, and is a link that filters it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.page.facts import Facts
from analysis.recorded.arms import NOT_ENDED
from analysis.recorded.study import Study, values
from analysis.recorded.trials import NOT_RUN


@dataclass(frozen=True)
class Item:
    """A count of the health line.

    Attributes:
        good: nothing is wrong with it; None where nothing was judged.
        rows: filter of the table of trials and runs that shows what was counted, as its fragment has it.
    """

    text: str
    good: bool | None
    rows: str = ""


def health(facts: Facts) -> list[Item]:
    table = facts.table
    others = table[~table["role"].isin([role for role, must in facts.study.declared.controls.items() if must])]
    collapsed, judged = int(others["collapsed"].sum()), int(others["collapsed_judged"].sum())
    passed, gates = int(others["gate_passed"].sum()), int(others["gate_judged"].sum())
    items = [*shown_controls(facts)]
    if judged:
        items.append(Item(f"collapsed {collapsed}/{judged}", collapsed == 0 or None, "view=runs&flag=collapsed"))
    if gates:
        items.append(Item(f"gate passed {passed}/{gates}", passed == gates or None, "view=runs&flag=gate"))
    finals, states = facts.study.finals, facts.spent.runs
    lost = states["state"].isin(NOT_RUN)
    items.append(_count("NaN", "nan", int((facts.study.search["state"] == "diverged").sum()), _without_value(facts)))
    items.append(
        _count(
            "failed", "failed", int((lost & states["trial"].notna()).sum()), int((lost & states["trial"].isna()).sum())
        )
    )
    broken = finals[~finals["complete"].astype(bool)].drop_duplicates("run_id")
    open_ = int(broken["problem"].str.startswith(NOT_ENDED).sum()) if len(broken) else 0
    good = None if facts.progress.alive and open_ == len(broken) else False
    text = f"incomplete {len(broken)}" + (f" ({open_} open)" if open_ else "")
    items.append(Item(text, True if broken.empty else good, "view=runs&flag=open"))
    return items


def _count(word: str, flag: str, trials: int, runs: int) -> Item:
    """Of both tables together; the link shows the one that has some."""
    return Item(
        f"{word} {trials + runs}", trials + runs == 0, f"view={'runs' if runs and not trials else 'trials'}&flag={flag}"
    )


def _without_value(facts: Facts) -> int:
    """Compared runs that ended and have no number for the study's metric."""
    return int(missing_value(facts.study).sum())


def missing_value(study: Study) -> pd.Series:
    """Of each row of ``finals``."""
    finals = study.finals
    trained = finals["complete"].astype(bool) & (finals["role"] != "untrained")
    return trained & values(finals, study.declared.metric.name).isna()


def shown_controls(facts: Facts) -> list[Item]:
    """Controls that must collapse, and whether they did."""
    found = []
    for _, row in facts.table.iterrows():
        if facts.study.declared.controls.get(row["role"]) != "collapse" or not row["collapsed_judged"]:
            continue
        as_it_must = row["collapsed"] == row["collapsed_judged"]
        count = f"{row['collapsed']}/{row['collapsed_judged']}"
        text = f"control {row['role']} collapsed {count}{' as it must' if as_it_must else ': it must collapse in all'}"
        found.append(Item(text, bool(as_it_must), f"view=runs&q={row['role']}"))
    return found
