"""How the verdict was reached and what limits it: the method, code versions, incomplete runs."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from analysis.recorded.registered import registered
from analysis.recorded.runs import COLLAPSED_BELOW
from analysis.recorded.study import Study
from analysis.statistics.differences import resolve
from analysis.statistics.family import NO_VERDICT


def caveats(study: Study, table: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """Sentences for the end of a report.

    Args:
        table: the study's ``tables.comparison_table``.
        found: its ``differences.differences``.
    """
    return [
        *_method(study, found),
        *registered(study),
        *_search_seed(study, table),
        *_looks(study),
        *_provenance(study),
        *_incomplete(study),
        *_without_value(study),
        *_superseded(study),
    ]


def _method(study: Study, found: pd.DataFrame) -> list[str]:
    asked = study.declared.contrasts
    primary = found[found["primary"]]
    said = []
    if asked:
        said.append(
            f"Declared before the data: {len(asked)} primary contrast{'s' if len(asked) > 1 else ''}"
            f" ({'; '.join(one.question for one in asked)}). Verdict words follow their Holm-adjusted decision (any"
            " wrong word in at most 5 % of studies in which nothing differs); an adjusted interval is the t interval"
            " at the level at which Holm's rule decides, and excludes 0 exactly when that resolves the contrast."
            " Everything else is exploratory: unadjusted 95 % t intervals over paired seeds, and no verdict."
        )
    else:
        said.append(
            "This study declared no contrast before its data: every interval is an unadjusted, exploratory 95 % t"
            " interval over paired seeds."
        )
    few = [line["question"] for _, line in primary.iterrows() if line["verdict"] == NO_VERDICT]
    if few:
        said.append(f"{NO_VERDICT.capitalize()} pairs of seeds for {'; '.join(few)}.")
    return [
        *said,
        (
            f"A run counts as collapsed when the effective rank of z is below {COLLAPSED_BELOW:g} times what it was"
            " before training."
        ),
    ]


def _looks(study: Study) -> list[str]:
    """How the number of seeds came about, where it was not fixed before."""
    if len(study.looks) == 1:
        return []
    done = [line for line in study.decisions if line["event"] == "look"]
    said = ", ".join(f"{len(line['unresolved'])} open at {line['n']}" for line in done) or "none yet"
    return [
        f"Seeds were to be added while a primary contrast was not resolved, at looks fixed before"
        f" ({', '.join(map(str, study.looks))} seeds; {said}); each look decides at .05 / {len(study.looks)}, so that"
        " looking again does not make a word more likely."
    ]


def _search_seed(study: Study, table: pd.DataFrame) -> list[str]:
    seed = study.info.get("search_seed")
    shared = seed is not None and any(
        str(seed) in str(seeds).split() for seeds in table.loc[table["role"].isin(["best", "candidate"]), "seeds"]
    )
    if not shared:
        return []
    return [
        f"Seed {seed} also served the search, so one confirmed value helped to choose the best arms and favours them."
    ]


def _provenance(study: Study) -> list[str]:
    rows = study.finals.dropna(subset="commit")
    commits = sorted({commit for joined in rows["commit"] for commit in str(joined).split("+")})
    said = []
    if len(commits) > 1:
        said.append(
            f"The compared runs mix {len(commits)} code versions: {', '.join(commit[:10] for commit in commits)}."
        )
    # of the search too, which chose what is compared
    kinds = Counter(kind for run in study.runs.values() for kind in run.processors)
    if len(kinds) > 1:
        counts = ", ".join(f"{count} of {kind}" for kind, count in sorted(kinds.items()))
        said.append(
            f"The study's runs come from {len(kinds)} kinds of processor ({counts}), which round otherwise: their"
            " numbers differ in their last bits, and a search may choose otherwise."
        )
    dirty = int(rows.drop_duplicates("run_id")["dirty"].fillna(False).sum())
    if dirty:
        said.append(f"Compared runs made with uncommitted changes in the code: {dirty}.")
    views = sorted(rows["views"].dropna().unique())
    if len(views) > 1:
        said.append(
            f"The compared arms observe {' and '.join(map(str, views))} views, each measured at its own number."
        )
    return said


def _incomplete(study: Study) -> list[str]:
    rows = study.finals[~study.finals["complete"]]
    if rows.empty:
        return []
    short = study.arms.names
    named = [f"{short[row['arm_id'], row['role']]} seed {row['seed']}: {row['problem']}" for _, row in rows.iterrows()]
    more = f"; and {len(named) - 8} more" if len(named) > 8 else ""
    count = f"Incomplete runs, {len(rows)} of {len(study.finals)}, are left out of every mean"
    return [f"{count}: {'; '.join(named[:8])}{more}."]


def _without_value(study: Study) -> list[str]:
    """Complete runs that a declared contrast has no number of: they are in no mean and no pair."""
    lost: dict[str, dict[str, None]] = {}
    for contrast in study.declared.contrasts:
        comparison = resolve(study, contrast)
        for key in comparison[1:] if comparison else ():
            rows = study.arms.rows[key]
            without = rows["complete"].to_numpy() & np.isnan(study.measured(contrast.metric, key))
            runs = {f"{study.arms.names[key]} seed {seed}": None for seed in rows.loc[without, "seed"]}
            lost.setdefault(contrast.measures, {}).update(runs)
    return [
        f"Complete runs without a value of {measures}, left out of its means and pairs: {'; '.join(runs)}."
        for measures, runs in lost.items()
        if runs
    ]


def _superseded(study: Study) -> list[str]:
    if not study.dropped:
        return []
    arms_left = f"{len(study.dropped)} arm{'' if len(study.dropped) == 1 else 's'}"
    return [
        f"Left out of the comparison: {arms_left} that an earlier, shorter search brought in and this one did not. A"
        " word for those now compared is another chance at it, and the 5 % hold for each choice alone."
    ]
