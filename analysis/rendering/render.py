"""Numbers as people read them: the same cells on the console and in Markdown."""

from __future__ import annotations

import math
import textwrap

import pandas as pd

from analysis.recorded.declared import Declared, Metric
from analysis.rendering.decimals import decimals, showing
from analysis.rendering.layout import Sheet
from analysis.statistics.comparison_table import group_of, groups_beside
from analysis.statistics.differences import RANKS
from analysis.statistics.family import NO_VERDICT

EMPTY = "-"


def sheets(
    table: pd.DataFrame, found: pd.DataFrame, confirmed: pd.DataFrame | None = None, asked: Declared | None = None
) -> list[Sheet]:
    """Cells of ``tables.comparison_table`` (in parts, to fit a console), ``differences`` and ``confirmation``.

    Args:
        asked: what the study declared; None for a study in linear accuracy.
    """
    if table.empty:
        return []
    searched = [] if confirmed is None or confirmed.empty else [_searched(confirmed)]
    return [
        _accuracy(table, asked or Declared()),
        *searched,
        _health(table),
        *([_against(found)] if len(found) else []),
        _in_full(table),
    ]


def number(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A rounded number, ``-`` where it is missing."""
    if value is None or pd.isna(value) or not math.isfinite(value):
        return EMPTY
    return f"{value:{'+' if sign else ''}.{digits}f}"


def interval(mean: float, low: float, high: float, digits: int = 1) -> str:
    """``+3.2 [+1.0, +5.4]``; without an interval (fewer than three pairs) the mean alone."""
    if pd.isna(low):
        return number(mean, showing(digits, mean), sign=True)
    digits = _shown(low, high, digits)
    return f"{number(mean, digits, True)} [{number(low, digits, True)}, {number(high, digits, True)}]"


def plus_minus(row: pd.Series, name: str, digits: int = 1) -> str:
    """``64.6 ± 1.3``, followed by ``(n=..)`` where fewer runs have the metric than the row counts."""
    mean, half, n = row[f"{name}_mean"], row[f"{name}_half"], row[f"{name}_n"]
    text = number(mean, digits) if pd.isna(half) else f"{number(mean, digits)} ± {number(half, digits)}"
    return f"{text} (n={n})" if 0 < n < row["n"] else text


def p_value(p: float) -> str:
    if pd.isna(p):
        return EMPTY
    return "<.001" if p < 0.001 else f"{p:.3f}"


def duration(seconds: float) -> str:
    """``45 s``, ``12 min`` or ``3.4 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def money(usd: float) -> str:
    """Whole cents, or two figures of less than one: ``12.40``, ``0.050``, ``0.0031``."""
    if usd >= 0.995:
        return f"{usd:.2f}"
    return "0" if usd <= 0 else f"{usd:#.2g}"


_ACCURACIES = {"linacc_z_agg": "z_agg", "linacc_z_1": "z_1\n(1 view)", "linacc_z_mean": "mean z\n(M views)"}


def accuracy_title(table: pd.DataFrame, asked: Declared, columns: list[str] | None = None) -> str:
    """What the first table is about; of metrics beside the study's own those with one of the columns, default: all."""
    views, epochs = _several(table["views"]), _several(_trained(table)["epoch"])
    group = group_of(asked)
    heads = _heads_beside(table, asked)
    beside = [one for name, one in groups_beside(table, asked).items()
              if name not in _ACCURACIES and (columns is None or heads[name] in columns)]  # fmt: skip
    others = dict.fromkeys([*([] if group in _ACCURACIES else [asked.metric]), *beside])
    words = ["Linear accuracy (%)", *(f"{one.words}{'' if one.higher else ' (less is better)'}" for one in others)]
    named = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"{named}, mean ± half of the 95 % t interval; M = {views} views, epoch {epochs}"


def short_accuracy(table: pd.DataFrame, asked: Declared) -> Sheet:
    """The same numbers in columns that a terminal of 80 can hold, the least needed dropped first."""
    whole = _accuracy(table, asked)
    measured = "" if group_of(asked) == "linacc_z_agg" else f"{_of_metric(asked)} "
    head = [*textwrap.wrap(f"{measured}minus reference", 18), "[95 %, unadjusted]"]
    columns = [*whole.columns[:-2], "\n".join(head), "verdict"]
    *least, beside = whole.optional if len(whole.optional) > 2 else (*whole.optional, None)
    # the answers above the table have the verdicts, and nothing else on that screen the first metric beside the study's
    optional = (*least, len(columns) - 1, *([] if beside is None else [beside]))
    return Sheet("", columns, whole.rows, optional=optional)


def _accuracy(table: pd.DataFrame, asked: Declared) -> Sheet:
    """Accuracies, the study's own metric where it is another, and the difference in that metric."""
    title = f"{accuracy_title(table, asked)} (untrained: 0), on validation; n of all runs"
    if (table["role"] == "candidate").any():
        title += "; the reference of a 2nd, 3rd, ... is the best of its level"
    group, digits = group_of(asked), decimals(asked.metric.name)
    accuracies = {name: head for name, head in _ACCURACIES.items() if not _never_measured(table, name)}
    shown = (
        accuracies if group in _ACCURACIES else {**accuracies, group: "\n".join(textwrap.wrap(_of_metric(asked), 16))}
    )
    beside = {name: one for name, one in groups_beside(table, asked).items() if name not in shown}
    heads = {name: head for name, head in _heads_beside(table, asked).items() if name in beside}
    first, *others = shown.items()
    shown = dict([first, *heads.items(), *others])
    digits_of = {name: min(2, decimals(one.name)) for name, one in beside.items()} | {group: digits}
    against = [*textwrap.wrap(f"{_of_metric(asked)} minus", 16), "reference [95 %,", "unadjusted]"]
    columns = ["arm", "n", *shown.values(), "\n".join(against), "verdict"]
    rows = [
        [
            row["arm"], f"{row['n']}/{row['runs']}",
            *(plus_minus(row, name, digits_of.get(name, 1)) if f"{name}_n" in row else EMPTY for name in shown),
            interval(row["difference_mean"], row["difference_low"], row["difference_high"], digits),
            verdict(row["verdict"]),
        ]
        for _, row in table.iterrows()
    ]  # fmt: skip
    of_views = [2 + list(shown).index(name) for name in list(_ACCURACIES)[1:] if name in shown]
    return Sheet(title, columns, rows, optional=(*of_views, *range(2 + len(beside), 2, -1)))


def _never_measured(table: pd.DataFrame, name: str) -> bool:
    """Whether runs have the aggregate's accuracy but none has this one: a model without codes of single views."""

    def known(group: str) -> bool:
        return f"{group}_n" in table and bool(table[f"{group}_n"].gt(0).any())

    return known("linacc_z_agg") and not known(name)


def _heads_beside(table: pd.DataFrame, asked: Declared) -> dict[str, str]:
    """Of each group of columns beside the study's own."""
    beside = groups_beside(table, asked)
    groups = sum(name not in _ACCURACIES for name in beside)
    return {name: "\n".join(textwrap.wrap(_head(name, one, groups), 11)) for name, one in beside.items()}


def _head(group: str, one: Metric, groups: int) -> str:
    """A metric shown beside the study's own; of several scalings each is named."""
    words = one.words[0].upper() + one.words[1:]
    return f"{words} {group.partition('.')[2]}".rstrip() if groups > 1 else words


def _of_metric(asked: Declared) -> str:
    """The study's metric as a column is headed: ``z_agg``, ``prediction loss``."""
    return asked.metric.words.removeprefix("linear accuracy of ").removeprefix("the ")


def _searched(confirmed: pd.DataFrame) -> Sheet:
    epochs = confirmed["search_epoch"].notna().any()
    columns = ["arm", "place in\nsearch", "search score" + ("\n@ epoch" if epochs else ""), "confirmed\nmean [95 %]"]
    columns += ["search minus\nconfirmed", "minus the best\n[95 %]"]
    rows = []
    for _, row in confirmed.iterrows():
        score = number(row["search_value"]) + (f" @ {row['search_epoch']:.0f}" if pd.notna(row["search_epoch"]) else "")
        low, high = row["confirmed"] - row["half"], row["confirmed"] + row["half"]
        mean = number(row["confirmed"]) + ("" if pd.isna(low) else f" [{number(low)}, {number(high)}]")
        place = EMPTY if pd.isna(row["place"]) else str(row["place"])
        against = interval(row["difference"], row["low"], row["high"])
        rows.append([row["arm"], place, score, mean, number(row["shrinkage"], sign=True), against])
    title = (
        "Search and confirmation: linear accuracy (%) on the search's seed and on the study's seeds, arms in the"
        " search's order"
    )
    return Sheet(title, columns, rows, optional=(1, 2))


def _health(table: pd.DataFrame) -> Sheet:
    scalings = [
        name.removesuffix("_mean") for name in table if name.startswith("r2_action.") and name.endswith("_mean")
    ]
    columns = ["arm", "z_agg -\nmean z", "rank z", "rank z_agg"]
    for name in scalings:
        epochs = _several(_trained(table)[f"{name}_epoch"])
        columns.append(f"R2 action\n{name.removeprefix('r2_action.')}\nepoch {epochs}")
    # with several arms per level a table of their own says this
    one_each = not (table["role"] == "candidate").any()
    columns += ["predict", "collapsed", "gate", *(["search /\nconfirmed"] if one_each else [])]
    rows = []
    for _, row in table.iterrows():
        cells = [row["arm"], plus_minus(row, "agg_minus_mean"), plus_minus(row, "rank_pr_z")]
        cells += [plus_minus(row, "rank_pr_z_agg"), *(plus_minus(row, name, 2) for name in scalings)]
        cells += [plus_minus(row, "predict_z_hat", 3), _of(row, "collapsed"), _of(row, "gate_passed", "gate_judged")]
        rows.append(
            [*cells, *([f"{number(row['search_value'])} / {number(row['linacc_z_agg_mean'])}"] if one_each else [])]
        )
    title = (
        "The same arms: effective ranks, action probe (untrained: epoch 0), prediction loss, runs collapsed, gates"
        " passed"
    )
    title += ", accuracy in the search beside the confirmed one" if one_each else ""
    return Sheet(title, columns, rows, optional=(len(columns) - 1, 4 + len(scalings), 1, 3))


def _against(found: pd.DataFrame) -> Sheet:
    columns = [
        "on",
        "arm",
        "against",
        "difference [95 %]",
        "pairs\n(lost)",
        "adjusted\ninterval",
        "Holm\np",
        "verdict",
        "could\nresolve",
        "seeds\nneeded",
    ]
    rows = [
        [
            _METRIC_WORDS.get(row["metric"], row["metric"]), row["arm"], row["reference"],
            interval(row["mean"], row["low"], row["high"], decimals(row["metric"])), f"{row['n']} ({row['dropped']})",
            between(row["adjusted_low"], row["adjusted_high"], decimals(row["metric"])), p_value(row["p_holm"]),
            verdict(row["verdict"]),
            smallest(row["resolvable"], decimals(row["metric"])),
            EMPTY if pd.isna(row["seeds_needed"]) else str(row["seeds_needed"]),
        ]
        for _, row in found.iterrows()
    ]  # fmt: skip
    title = (
        "Paired differences over common seeds (lost: seeds of either arm without a pair), unadjusted; the declared"
        " contrasts with the interval, Holm's p and the verdict of their family, and the smallest difference that would"
        " have been resolved"
    )
    return Sheet(title, columns, rows, 3, optional=(9, 4, 6, 8, 5))


def verdict(word: str) -> str:
    """A cell; that there are too few seeds is said once, in a sentence."""
    return EMPTY if word == NO_VERDICT else word


def between(low: float, high: float, digits: int = 1) -> str:
    if pd.isna(low):
        return EMPTY
    digits = _shown(low, high, digits)
    return f"[{number(low, digits, True)}, {number(high, digits, True)}]"


def _shown(low: float, high: float, digits: int) -> int:
    """Decimals that show how wide an interval is, and that it excludes 0 where it does."""
    nearer = min(abs(low), abs(high)) if low * high > 0 else math.inf
    return showing(digits, min((high - low) / 2, nearer))


def smallest(difference: float | None, digits: int) -> str:
    """A difference that could be resolved, with decimals that show it."""
    return number(difference, showing(digits, difference))


def _in_full(table: pd.DataFrame) -> Sheet:
    known = table["parameters"].notna().any()  # records of earlier versions do not have them
    columns = ["arm", "settings", *(["trained parameters"] if known else [])]
    rows = [[row["arm"], row["label"], *([_parameters(row)] if known else [])] for _, row in table.iterrows()]
    return Sheet("The arms in full", columns, rows, text=3)


def _parameters(row: pd.Series) -> str:
    return EMPTY if pd.isna(row["parameters"]) else f"{row['parameters']:,}: {row['parameter_parts']}"


_METRIC_WORDS = {
    "linacc/z_agg": "linacc",
    RANKS[0].removesuffix("@M"): "rank z",
    RANKS[1].removesuffix("@M"): "rank z_agg",
}


def _of(row: pd.Series, count: str, total: str | None = None) -> str:
    judged = row[total or f"{count}_judged"]
    return f"{row[count]}/{judged}" if judged else EMPTY


def _trained(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["role"] != "untrained"]


def _several(column: pd.Series) -> str:
    return ", ".join(str(value) for value in sorted(column.dropna().unique())) or EMPTY
