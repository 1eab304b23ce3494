"""What the study says, in sentences.

Words follow the adjusted decisions of the declared contrasts (``family``); nothing is called equal, and what is exploratory is
given with its interval alone.
"""

from __future__ import annotations

import pandas as pd

from analysis.claims import claim
from analysis.compare import MIN_SEEDS
from analysis.confirmation import confirmation, order_held
from analysis.cost import Cost, cost
from analysis.differences import LINACC, RANKS, SAME_ARM, Key, arms, differences, find, names, reference_of, rows_of
from analysis.family import BETTER, EXPLORATORY, NO_VERDICT, NOT_RESOLVED, WORSE
from analysis.pareto import front_found
from analysis.render import interval, number
from analysis.runs import COLLAPSED_BELOW
from analysis.searched import missing, searched
from analysis.study import Study, values

_EMA_WORDS = {
    BETTER: "Yes, for linear accuracy in this setting",
    WORSE: "No, for linear accuracy in this setting (stopgrad is better)",
    NOT_RESOLVED: "Not resolved (which does not show that the two are equal)",
}


def sentences(study: Study, table: pd.DataFrame, spent: Cost | None = None) -> list[str]:
    """Plain sentences on what was searched, found, controlled, and what limits it.

    Args:
        study: the study.
        table: its ``tables.comparison_table``.
        spent: its ``cost.cost``, where that is at hand.
    """
    said = [*searched(study), *missing(study, spent or cost(study)), *front_found(study)]
    if table.empty:
        return [*said, "No arm has been compared yet, so there is no answer."]
    found = differences(study)
    best = [key for key in arms(study) if key[1] == "best"]
    for key in best:
        said += _repair(study, table, found, key)
    grid = [key for key in arms(study) if key[1] == "grid"]
    if grid:
        said += _grid(study, found, grid)
    elif not best:
        said.append("No best arm has been run on the study's seeds, so the question of the coding rate has no answer yet.")
    said += _ema(study, found)
    said += order_held(confirmation(study))
    said += _controls(study, table)
    said += _levels(study)
    return [*said, *_method(study, found), *_search_seed(study, table), *_provenance(study), *_incomplete(study), *_superseded(study)]


def _repair(study: Study, table: pd.DataFrame, found: pd.DataFrame, key: Key) -> list[str]:
    """Whether the coding rate repairs collapse for the teacher of one best arm."""
    best = _row(table, key)
    head = f"Coding rate, teacher {best['teacher']}"
    chosen = f"lambda = {best['lambda_rate']:.3g}{_edge(study, best)}"
    against = found[(found["arm_id"] == key[0]) & (found["role"] == "best") & (found["reference_role"] == "lambda0")]
    if against.empty:
        return [f"{head}: the search chose {chosen}, but lambda 0 was not run on the same seeds."]
    by = {line["metric"]: line for _, line in against.iterrows()}
    accuracy, rank, rank_agg = (by[metric.removesuffix("@M")] for metric in (LINACC, *RANKS))
    if accuracy["verdict"] == SAME_ARM:
        return [f"{head}: the search chose lambda = 0 itself, so it offers no coding rate to compare with."]
    base = _row(table, (accuracy["reference_arm_id"], "lambda0"))
    if not base["n"]:
        return [f"{head}, {chosen}: none of its runs with lambda 0 is complete."]
    collapse = (
        f"{head}, {chosen}: {_collapsed(best)}; with lambda 0 {_collapsed(base)}. Effective rank of z "
        f"{number(best['rank_pr_z_mean'])} against {number(base['rank_pr_z_mean'])}, {claim(rank)}; of z_agg "
        f"{number(best['rank_pr_z_agg_mean'])} against {number(base['rank_pr_z_agg_mean'])}, {claim(rank_agg)}. "
        f"{_repaired(base, best, accuracy)}"
    ).rstrip()
    gain = (
        f"{head}, {chosen}: linear accuracy of z_agg {number(best['linacc_z_agg_mean'])} against "
        f"{number(base['linacc_z_agg_mean'])} percent with lambda 0, {claim(accuracy)}."
    )
    return [collapse, gain]


def _repaired(base: pd.Series, best: pd.Series, accuracy: pd.Series) -> str:
    """The counts of collapsed runs say what there was to repair; the word rests on the declared contrast in accuracy."""
    if accuracy["verdict"] not in (BETTER, WORSE, NOT_RESOLVED) or min(base["collapsed_judged"], best["collapsed_judged"]) < MIN_SEEDS:
        return ""
    if base["collapsed"] == 0:
        return "Lambda 0 did not collapse by this measure, so there was nothing to repair."
    if accuracy["verdict"] == NOT_RESOLVED:
        return "Whether the rate repairs collapse is not resolved: the adjusted interval of the accuracy includes 0."
    if accuracy["verdict"] == WORSE:
        return "So the rate does not repair collapse here."
    if best["collapsed"] == 0 and base["collapsed"] == base["collapsed_judged"]:
        return "So the rate repairs collapse here: without it every run collapsed, with it none, and the accuracy is better."
    return "So the rate makes the accuracy better, but the runs that collapsed are not all of those without it and none of those with it."


def _ema(study: Study, found: pd.DataFrame) -> list[str]:
    head = "Is the EMA teacher still needed with the rate?"
    ema, stopgrad = find(study, "best", "ema"), find(study, "best", "stopgrad")
    peers = [key for key in arms(study) if reference_of(study, key, "peer") is not None]
    if peers:
        return _peers(study, found, peers)
    if ema is None or stopgrad is None:
        absent = [name for name, key in (("ema", ema), ("stopgrad", stopgrad)) if key is None]
        return [f"{head} No best arm with teacher {' or '.join(absent)} was compared."]
    line = found[
        (found["metric"] == LINACC.removesuffix("@M")) & (found["arm_id"] == ema[0]) & (found["role"] == "best")
        & (found["reference_arm_id"] == stopgrad[0]) & (found["reference_role"] == "best")
    ].iloc[0]  # fmt: skip
    effort = "; ".join(f"{teacher} {_effort(study, teacher)}" for teacher in ("ema", "stopgrad"))
    words = f" {_EMA_WORDS[line['verdict']]}." if line["verdict"] in _EMA_WORDS else ""
    return [
        f"{head}{words} Linear accuracy of the best ema minus the best stopgrad, {claim(line)}.",
        f"Each of the two is the best of its own search ({effort}) and keeps its own lambda and schedule: this compares "
        "the best found with each teacher. studies/step2_grid.py compares teachers with everything else equal.",
    ]


def _grid(study: Study, found: pd.DataFrame, grid: list[Key]) -> list[str]:
    """Every arm of a grid against lambda 0 under the same schedule and teacher, the declared ones first."""
    head = "Coding rate against lambda 0 in linear accuracy, everything else equal"
    return _declared_first(head, [(key, reference_of(study, key)) for key in grid], study, found)


def _peers(study: Study, found: pd.DataFrame, peers: list[Key]) -> list[str]:
    """EMA against stop-gradient, everything else equal, over a grid."""
    head = "EMA minus stop-gradient in linear accuracy, everything else equal"
    return _declared_first(head, [(key, reference_of(study, key, "peer")) for key in peers], study, found)


def _declared_first(head: str, pairs: list[tuple[Key, Key | None]], study: Study, found: pd.DataFrame) -> list[str]:
    labels = names(study)
    accuracy = found[found["metric"] == LINACC.removesuffix("@M")]
    at = {(a, role, b): line for a, role, b, (_, line) in zip(accuracy["arm_id"], accuracy["role"], accuracy["reference_arm_id"], accuracy.iterrows(), strict=True)}
    lines = [(labels[key], at[(*key, reference[0])]) for key, reference in pairs if reference is not None]
    primary = [f"{name}: {claim(line)}" for name, line in lines if line["verdict"] != EXPLORATORY]
    others = [f"{name} {interval(line['mean'], line['low'], line['high'])}" for name, line in lines if line["verdict"] == EXPLORATORY]
    said = [f"{head}: {'; '.join(primary)}."] if primary else []
    return [*said, f"{head}, exploratory (unadjusted 95 % intervals, no verdict): {'; '.join(others)}."] if others else said


def _effort(study: Study, teacher: str) -> str:
    """How much search an arm's settings rest on."""
    trials, warm = study.search[study.search["teacher"] == teacher], int((study.warm["teacher"] == teacher).sum())
    taken = f" and {warm} taken over" if warm else ""
    return f"{len(trials)} trials, {int((trials['state'] == 'complete').sum())} to the end{taken}"


def _controls(study: Study, table: pd.DataFrame) -> list[str]:
    rows = [_row(table, key) for key in arms(study) if key[1] == "shared"]
    if not rows:
        return ["Control: no arm with a shared target branch was compared, so nothing shows that collapse would be noticed."]
    said = []
    for row in rows:
        judged, gate = row["collapsed_judged"], row["gate_judged"]
        passed = f", gate passed {row['gate_passed']} of {gate}" if gate else ""
        if row["lambda_rate"] > 0:
            answer = "it has the rate on, so it need not collapse"
        elif judged < MIN_SEEDS:
            answer = f"fewer than {MIN_SEEDS} runs, too few to say whether it behaved"
        elif row["collapsed"] == judged:
            answer = "it behaved as a control should"
        else:
            answer = "it did NOT collapse throughout, so read the other collapse counts with care"
        numbers = f"rank of z {number(row['rank_pr_z_mean'])}, linear accuracy {number(row['linacc_z_agg_mean'])} percent"
        head = f"Control, shared target branch with lambda {row['lambda_rate']:.3g}"
        said.append(f"{head}: {_collapsed(row)}; {numbers}{passed}: {answer}.")
    return said


def _levels(study: Study) -> list[str]:
    """Where the untrained encoder and raw pixels stand; without them an accuracy means little."""
    key = find(study, "untrained")
    if key is None:
        return []
    rows = rows_of(study, key)
    levels = {"z_agg": LINACC, "mean z": "linacc/z_mean@M", "raw pixels, mean of the views": "linacc/pixels_mean@M"}
    found = {name: values(rows, metric) for name, metric in levels.items()}
    words = [f"{name} {number(column.mean())}" for name, column in found.items() if column.notna().any()]
    n = found["z_agg"].count()
    return [f"For scale, linear accuracy without training: {', '.join(words)} percent (n = {n})."] if words else []


def _method(study: Study, found: pd.DataFrame) -> list[str]:
    asked = study.declared.contrasts
    primary = found[found["primary"]]
    said = []
    if asked:
        said.append(
            f"Declared before the data: {len(asked)} primary contrast{'s' if len(asked) > 1 else ''} ({'; '.join(one.question for one in asked)}). "
            "Verdict words follow their Holm-adjusted decision (any wrong word in at most 5 % of studies in which nothing differs); an adjusted "
            "interval is the t interval at the level at which Holm's rule decides, and excludes 0 exactly when that resolves the contrast. "
            "Everything else is exploratory: unadjusted 95 % t intervals over paired seeds, and no verdict."
        )
    else:
        said.append("This study declared no contrast before its data: every interval is an unadjusted, exploratory 95 % t interval over paired seeds.")
    few = [line["question"] for _, line in primary.iterrows() if line["verdict"] == NO_VERDICT]
    if few:
        said.append(f"{NO_VERDICT.capitalize()} pairs of seeds for {'; '.join(few)}.")
    return [*said, f"A run counts as collapsed when the effective rank of z is below {COLLAPSED_BELOW:g} times what it was before training."]


def _search_seed(study: Study, table: pd.DataFrame) -> list[str]:
    seed = study.info.get("search_seed")
    shared = seed is not None and any(str(seed) in str(seeds).split() for seeds in table.loc[table["role"].isin(["best", "candidate"]), "seeds"])
    if not shared:
        return []
    return [f"Seed {seed} also served the search, so one confirmed value helped to choose the best arms and favours them."]


def _provenance(study: Study) -> list[str]:
    rows = study.finals.dropna(subset="commit")
    commits = sorted({commit for joined in rows["commit"] for commit in str(joined).split("+")})
    said = []
    if len(commits) > 1:
        said.append(f"The compared runs mix {len(commits)} code versions: {', '.join(commit[:10] for commit in commits)}.")
    dirty = int(rows.drop_duplicates("run_id")["dirty"].fillna(False).sum())
    if dirty:
        said.append(f"Compared runs made with uncommitted changes in the code: {dirty}.")
    views = sorted(rows["views"].dropna().unique())
    if len(views) > 1:
        said.append(f"The compared arms observe {' and '.join(map(str, views))} views, each measured at its own number.")
    return said


def _incomplete(study: Study) -> list[str]:
    rows = study.finals[~study.finals["complete"]]
    if rows.empty:
        return []
    short = names(study)
    named = [f"{short[row['arm_id'], row['role']]} seed {row['seed']}: {row['problem']}" for _, row in rows.iterrows()]
    more = f"; and {len(named) - 8} more" if len(named) > 8 else ""
    count = f"Incomplete runs, {len(rows)} of {len(study.finals)}, are left out of every mean"
    return [f"{count}: {'; '.join(named[:8])}{more}."]


def _superseded(study: Study) -> list[str]:
    if not study.dropped:
        return []
    arms_left = f"{len(study.dropped)} arm{'' if len(study.dropped) == 1 else 's'}"
    return [f"Left out of the comparison: {arms_left} that an earlier, shorter search brought in and this one did not."]


def _collapsed(row: pd.Series) -> str:
    if not row["collapsed_judged"]:
        return "no run could be judged for collapse"
    return f"{row['collapsed']} of {row['collapsed_judged']} runs collapsed"


def _edge(study: Study, best: pd.Series) -> str:
    tried = pd.concat([trials.loc[trials["teacher"] == best["teacher"], "lambda_rate"] for trials in (study.search, study.warm)])
    if len(tried) > 1 and best["lambda_rate"] >= tried.max():
        return " (the largest tried: the optimum may lie beyond)"
    return ""


def _row(table: pd.DataFrame, key: Key) -> pd.Series:
    return table[(table["arm_id"] == key[0]) & (table["role"] == key[1])].iloc[0]
