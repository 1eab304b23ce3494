"""The tables of a paper, from the tidy frames: arms with their intervals, contrasts with their verdicts."""

from __future__ import annotations

import pandas as pd

from analysis.frames.read import Frames
from analysis.recorded.declared import LINACC
from analysis.rendering.decimals import decimals
from analysis.rendering.layout import Sheet
from analysis.rendering.render import EMPTY, between, interval, number, p_value, smallest

ARM_COLUMNS = (
    "study", "arm", "role", "n", "planned", "epoch", "metric", "mean", "low", "high", "search_value", "search_epoch",
    "search_minus_confirmed", "gate_passed", "gate_judged", "collapsed", "collapsed_judged", "parameters",
    "device_seconds", "usd", "arm_id", "commit", "dirty",
)  # fmt: skip
CONTRAST_COLUMNS = (
    "study", "contrast", "arm", "reference", "metric", "unit", "primary", "family", "mean", "low", "high", "sd", "n",
    "dropped", "p", "p_adjusted", "level", "adjusted_low", "adjusted_high", "verdict", "effect", "improvement",
    "resolvable", "resolvable_with_power", "seeds_needed", "arm_id", "reference_arm_id",
)  # fmt: skip
_ARM_NOTES = (
    "Mean and half of the 95 % t interval over the n complete runs of those planned; no interval below 3.",
    "A score that served a choice tends to be too high: the confirmed mean is on seeds of its own.",
)
_CONTRAST_NOTES = (
    "Paired over seeds. Contrasts declared before the data are decided together by Holm's rule, with the interval at"
    " its level; all others are exploratory: an unadjusted 95 % interval and no verdict.",
    "d: mean difference in s.d. of the paired differences. P(better): share of seeds in which the arm is better."
    " Resolvable: the smallest observed difference that would have been resolved at this spread and n. Seeds needed: to"
    " resolve the difference, were mean and s.d. to stay as observed.",
)


def arm_numbers(frames: Frames) -> pd.DataFrame:
    """One row per compared arm in full precision, with what the search said of it.

    ``search_minus_confirmed`` is of the accuracy that a search ranks by, NaN where the search's score is of an earlier
    epoch than the arm's.
    """
    arms = frames.arms[frames.arms["origin"] == "study"]
    at = frames.trials.drop_duplicates(["study", "arm_id"], keep="last").set_index(["study", "arm_id"])["epoch"]
    keys = pd.MultiIndex.from_frame(arms[["study", "arm_id"]])
    table = arms.assign(search_epoch=at.reindex(keys).to_numpy() if len(at) else pd.NA)
    table["search_epoch"] = table["search_epoch"].astype("Int64").where(table["search_value"].notna())
    alike = table["search_epoch"].eq(table["epoch"]).fillna(False).astype(bool)
    confirmed = table.get("linacc_z_agg_mean", float("nan"))  # absent where nothing was compared
    table["search_minus_confirmed"] = (table["search_value"] - confirmed).where(alike)
    return table[list(ARM_COLUMNS)].reset_index(drop=True)


def contrast_numbers(frames: Frames) -> pd.DataFrame:
    """One row per comparison in full precision, the declared ones first within each study."""
    found = frames.contrasts[list(CONTRAST_COLUMNS)]
    order = found.assign(place=found["study"].map({name: at for at, name in enumerate(frames.studies["study"])}))
    return found.loc[order.sort_values(["place", "primary"], ascending=[True, False], kind="stable").index]


def arm_sheets(found: pd.DataFrame, frames: Frames) -> list[Sheet]:
    """The table of arms as cells, of the rows of one study."""
    return [_arms(found, _about(found, frames))] if len(found) else []


def contrast_sheets(found: pd.DataFrame, frames: Frames) -> list[Sheet]:
    """The table of contrasts as cells, of the rows of one study."""
    return [_contrasts(found, _about(found, frames))] if len(found) else []


def _about(found: pd.DataFrame, frames: Frames) -> dict[str, str]:
    return frames.studies[frames.studies["study"] == found["study"].iloc[0]].iloc[0].to_dict()


def mean_cell(row: pd.Series) -> str:
    """``62.0 ± 2.5``, the mean alone where there are too few runs for an interval."""
    digits = decimals(row["metric"])
    mean, half = number(row["mean"], digits), row["high"] - row["mean"]
    return mean if pd.isna(half) else f"{mean} ± {number(half, digits)}"


def count(row: pd.Series, part: str, whole: str) -> str:
    """``3/4``; a dash where nothing was judged."""
    return f"{row[part]}/{row[whole]}" if pd.notna(row[whole]) and row[whole] else EMPTY


def headed(study: dict[str, str]) -> str:
    """The metric as a column is headed."""
    unit = f" ({study['unit']})" if pd.notna(study["unit"]) and study["unit"] else ""
    less = "" if study["higher"] is pd.NA or study["higher"] else ", less is better"
    return f"{study['measures']}{unit}{less}"


def whole(value: object) -> str:
    """A count or an epoch; a dash where it is missing."""
    return EMPTY if pd.isna(value) else str(value)


def _arms(arms: pd.DataFrame, study: dict[str, str]) -> Sheet:
    searched = arms["search_value"].notna().any()
    sizes = ["parameters"] if arms["parameters"].nunique() > 1 else []  # of arms that differ in them
    columns = ["arm", *sizes, "n", "epoch", headed(study)]
    accuracy = "" if arms["metric"].eq(LINACC).all() else " in accuracy"
    columns += ["search score @ epoch", f"search minus confirmed{accuracy}"] if searched else []
    rows = []
    for _, row in arms.iterrows():
        size = [EMPTY if pd.isna(row[name]) else f"{row[name]:,}" for name in sizes]
        cells = [row["arm"], *size, count(row, "n", "planned"), whole(row["epoch"]), mean_cell(row)]
        if searched:
            score = number(row["search_value"])
            at = "" if score == EMPTY or pd.isna(row["search_epoch"]) else f" @ {row['search_epoch']}"
            cells += [f"{score}{at}", number(row["search_minus_confirmed"], sign=True)]
        cells += [count(row, "collapsed", "collapsed_judged"), count(row, "gate_passed", "gate_judged")]
        rows.append(cells)
    return Sheet(
        f"{study['study']}: compared arms", [*columns, "collapsed", "gate passed"], rows,
        notes=_ARM_NOTES[: 1 + bool(searched)],
    )  # fmt: skip


def _contrasts(found: pd.DataFrame, study: dict[str, str]) -> Sheet:
    columns = ["contrast", "metric", "difference [95 %]", "pairs", "adjusted interval", "Holm p", "verdict", "d"]
    columns += ["P(better)", "resolvable", "seeds needed"]
    rows = []
    for _, row in found.iterrows():
        digits = decimals(row["metric"])
        rows.append(
            [
                row["contrast"], row["metric"].removesuffix("@M"),
                interval(row["mean"], row["low"], row["high"], digits), whole(row["n"]),
                between(row["adjusted_low"], row["adjusted_high"], digits), p_value(row["p_adjusted"]), row["verdict"],
                number(row["effect"], 2, sign=True), number(row["improvement"], 2), smallest(row["resolvable"], digits),
                whole(row["seeds_needed"]),
            ]
        )  # fmt: skip
    family = len(found[found["primary"]])
    title = f"{study['study']}: {family} declared contrast{'' if family == 1 else 's'}"
    undeclared = len(found) - family
    return Sheet(
        f"{title} and {undeclared} exploratory" if undeclared else title, columns, rows, 2, notes=_CONTRAST_NOTES
    )
