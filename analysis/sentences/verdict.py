"""What the study says, in sentences.

Words follow the adjusted decisions of the declared contrasts (``family``); nothing is called equal, and what is
exploratory is given with its interval alone.
"""

from __future__ import annotations

import pandas as pd

from analysis.recorded.declared import LINACC, Contrast
from analysis.recorded.study import Study, values
from analysis.rendering.decimals import decimals
from analysis.rendering.render import interval, number
from analysis.sentences.caveats import caveats
from analysis.sentences.claims import claim
from analysis.sentences.confirmation import confirmation, order_held
from analysis.sentences.controls import UNNOTICED
from analysis.sentences.edge import edge
from analysis.sentences.how_chosen import how_chosen
from analysis.sentences.noise_floor import noise_floor
from analysis.sentences.pareto import front_found
from analysis.sentences.predicted import predicted
from analysis.sentences.search_only import best_found
from analysis.sentences.searched import missing, searched
from analysis.statistics.cost import Cost, cost
from analysis.statistics.differences import RANKS, SAME_ARM, Key, differences, resolve
from analysis.statistics.family import BETTER, EXPLORATORY, NOT_RESOLVED, WORSE
from analysis.statistics.paired import MIN_SEEDS

_UNRESOLVED = "Not resolved (which does not show that the two are equal)"


def sentences(study: Study, table: pd.DataFrame, spent: Cost | None = None) -> list[str]:
    """Plain sentences on what was searched, found, controlled, and what limits it.

    Args:
        study: the study.
        table: its ``tables.comparison_table``.
        spent: its ``cost.cost``, where that is at hand.
    """
    said = [*searched(study), *how_chosen(study), *missing(study, spent or cost(study)), *front_found(study)]
    if table.empty:
        return [*said, *(best_found(study) or ["No arm has been compared yet, so there is no answer."])]
    found = differences(study)
    if not any(study.declared.kind(role) in ("best", "grid") for _, role in study.arms.ordered):
        said.append("No best arm has been run on the study's seeds, so the study's question has no answer yet.")
    for contrast in study.declared.contrasts:
        said += _contrast(study, table, found, contrast)
    said += _others(study, found)
    said += noise_floor(study)
    said += predicted(study)
    said += order_held(study, confirmation(study))
    said += _controls(study, table)
    said += _levels(study)
    return [
        *said,
        *caveats(study, table, found),
    ]


def _contrast(study: Study, table: pd.DataFrame, found: pd.DataFrame, contrast: Contrast) -> list[str]:
    """A declared comparison: what it asks, its decision, and what collapsed on either side."""
    asked = contrast.question or f"{contrast.arm} minus {contrast.reference}"
    head = contrast.asks or f"{asked[0].upper()}{asked[1:]}:"
    line = _line(study, found, contrast)
    if line is None:
        return [f"{head} not answered, as {' and '.join(_absent(study, contrast))} was not compared."]
    if line["verdict"] == SAME_ARM:
        return [
            f"{head} no answer, as the search chose the reference itself ({line['arm']}), which leaves nothing to"
            " compare."
        ]
    one, other = (
        _row(table, (line["arm_id"], line["role"])),
        _row(table, (line["reference_arm_id"], line["reference_role"])),
    )
    words = contrast.words.get(line["verdict"]) or (
        _UNRESOLVED if contrast.asks and line["verdict"] == NOT_RESOLVED else ""
    )
    own, against = _means(study, contrast.metric, line)
    unit = f" {contrast.unit}" if contrast.unit else ""
    end = edge(study, (line["arm_id"], line["role"]))
    beyond = f" (the {end} tried: the optimum may lie beyond)" if end else ""
    values = (
        f"{contrast.measures} of {line['arm']}{beyond} {own} against {against}{unit} of {line['reference']},"
        f" {claim(line)}."
    )
    begins = values[0].upper() if words or contrast.asks else values[0]
    said = [f"{head} {f'{words}. ' if words else ''}{begins}{values[1:]}"]
    if study.declared.kind(line["reference_role"]) == "reference" and line["role"] == "best":
        return [*said, _collapse(found, contrast, one, other, line)]
    return [*said, *(_effort(study, contrast) if line["role"] == line["reference_role"] == "best" else [])]


def _line(study: Study, found: pd.DataFrame, contrast: Contrast) -> pd.Series | None:
    """The contrast's row of ``found``, by what it compares: studies begun by earlier code may ask two things in the
    same words."""
    if (comparison := resolve(study, contrast)) is None:
        return None
    metric, (arm_id, role), (reference_arm_id, reference_role) = comparison
    same = (found["metric"] == metric.removesuffix("@M")) & (found["arm_id"] == arm_id) & (found["role"] == role)
    same &= (found["reference_arm_id"] == reference_arm_id) & (found["reference_role"] == reference_role)
    return found[found["primary"] & same].iloc[0]


def _collapse(found: pd.DataFrame, contrast: Contrast, one: pd.Series, other: pd.Series, decided: pd.Series) -> str:
    """Runs collapsed and effective ranks of a best arm and its reference."""
    head = (
        f"Collapse, {contrast.question}: {_collapsed(one)} with {decided['arm']}, {_collapsed(other)} with"
        f" {decided['reference']}."
    )
    against = found[
        (found["arm_id"] == one["arm_id"]) & (found["role"] == "best") & (found["reference_arm_id"] == other["arm_id"])
    ]
    ranks = [
        f"of {name} {number(one[f'rank_pr_{name}_mean'])} against {number(other[f'rank_pr_{name}_mean'])},"
        f" {claim(line)}"
        for metric, name in zip(RANKS, ("z", "z_agg"), strict=True)
        for _, line in against[against["metric"] == metric.removesuffix("@M")].iterrows()
    ]
    measured = f" Effective rank {'; '.join(ranks)}." if ranks else ""
    return f"{head}{measured} {_repaired(other, one, decided, contrast)}".rstrip()


def _repaired(base: pd.Series, best: pd.Series, decided: pd.Series, contrast: Contrast) -> str:
    """The counts of collapsed runs say what there was to repair; the word rests on the declared contrast."""
    if (
        decided["verdict"] not in (BETTER, WORSE, NOT_RESOLVED)
        or min(base["collapsed_judged"], best["collapsed_judged"]) < MIN_SEEDS
    ):
        return ""
    if base["collapsed"] == 0:
        return "The reference did not collapse by this measure, so there was nothing to repair."
    if best["collapsed"] == best["collapsed_judged"]:
        return "So collapse is not repaired here: every run of the arm collapsed."
    if decided["verdict"] == NOT_RESOLVED:
        return (
            f"Whether collapse is repaired is not resolved: the adjusted interval of the {contrast.measures}"
            " includes 0."
        )
    if decided["verdict"] == WORSE:
        return f"So this is no repair: the {contrast.measures} is worse than the reference's."
    if best["collapsed"] == 0 and base["collapsed"] == base["collapsed_judged"]:
        return (
            "So this repairs collapse here: every run of the reference collapsed, none of the arm, and its"
            f" {contrast.measures} is better."
        )
    return (
        f"So the {contrast.measures} is better, but the runs that collapsed are not all of the reference's and none of"
        " the arm's."
    )


def _effort(study: Study, contrast: Contrast) -> list[str]:
    """How much search the best arms of two levels rest on."""
    trials, warm = study.search, study.warm
    parts = []
    for key in (contrast.arm, contrast.reference):
        level = study.declared.level(study.arms.first[study.arms.keys[key]])
        own, taken = trials[trials[study.declared.stratum] == level], int((warm[study.declared.stratum] == level).sum())
        parts.append(
            f"{level} {len(own)} trials, {int((own['state'] == 'complete').sum())} to the"
            f" end{f' and {taken} taken over' if taken else ''}"
        )
    return [
        f"Each of the two is the best of its own search ({'; '.join(parts)}) and keeps its own settings: this compares"
        " the best found with each."
    ]


def _others(study: Study, found: pd.DataFrame) -> list[str]:
    """What was not declared: its intervals alone."""
    lines = found[
        (found["verdict"] == EXPLORATORY)
        & (found["metric"] == study.declared.metric.name.removesuffix("@M"))
        & (found["role"] != "candidate")
    ]
    parts = [
        f"{line['arm']} minus {line['reference']}"
        f" {interval(line['mean'], line['low'], line['high'], decimals(line['metric']))}"
        for _, line in lines.iterrows()
    ]
    if not parts:
        return []
    head = f"{study.declared.metric.words[0].upper()}{study.declared.metric.words[1:]}"
    return [f"{head}, exploratory (unadjusted 95 % intervals, no verdict): {'; '.join(parts)}."]


def _absent(study: Study, contrast: Contrast) -> list[str]:
    return [key for key in (contrast.arm, contrast.reference) if key not in study.arms.keys]


def _means(study: Study, metric: str, line: pd.Series) -> tuple[str, ...]:
    """Of both arms over their pairs, so that they differ by what is said; without a pair each over its own runs."""
    keys = [(line["arm_id"], line["role"]), (line["reference_arm_id"], line["reference_role"])]
    frame = pd.concat([pd.Series(study.measured(metric, key), list(study.arms.runs[key])) for key in keys], axis=1)
    pairs = frame.dropna()
    return tuple(number(mean, decimals(metric)) for mean in (frame if pairs.empty else pairs).mean())


def _controls(study: Study, table: pd.DataFrame) -> list[str]:
    """Whether each control did what it must do."""
    rows = [_row(table, key) for key in study.arms.ordered if study.declared.controls.get(key[1]) == "collapse"]
    if not rows:
        return [f"Control: none was compared that must collapse, {UNNOTICED}."]
    said = []
    for row in rows:
        judged, gate = row["collapsed_judged"], row["gate_judged"]
        passed = f", gate passed {row['gate_passed']} of {gate}" if gate else ""
        if row["collapsed"] < judged:
            answer = f"it did NOT collapse throughout, {UNNOTICED}"
        elif judged < MIN_SEEDS:
            answer = f"fewer than {MIN_SEEDS} runs, too few to say whether it behaved"
        else:
            answer = "it behaved as a control should"
        numbers = (
            f"rank of z {number(row['rank_pr_z_mean'])}, linear accuracy {number(row['linacc_z_agg_mean'])} percent"
        )
        said.append(f"Control that must collapse, {row['arm']}: {_collapsed(row)}; {numbers}{passed}: {answer}.")
    return said


def _levels(study: Study) -> list[str]:
    """Where the untrained encoder and raw pixels stand; without them an accuracy means little."""
    key = study.arms.find("untrained")
    if key is None:
        return []
    rows = study.arms.rows[key]
    levels = {"z_agg": LINACC, "mean z": "linacc/z_mean@M", "raw pixels, mean of the views": "linacc/pixels_mean@M"}
    found = {name: values(rows, metric) for name, metric in levels.items()}
    words = [f"{name} {number(column.mean())}" for name, column in found.items() if column.notna().any()]
    n = found["z_agg"].count()
    return [f"For scale, linear accuracy without training: {', '.join(words)} percent (n = {n})."] if words else []


def _collapsed(row: pd.Series) -> str:
    if not row["collapsed_judged"]:
        return "no run could be judged for collapse"
    return f"{row['collapsed']} of {row['collapsed_judged']} runs collapsed"


def _row(table: pd.DataFrame, key: Key) -> pd.Series:
    return table[(table["arm_id"] == key[0]) & (table["role"] == key[1])].iloc[0]
