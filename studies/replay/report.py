"""The replay for people: two tables, what they mean in words, and the same numbers as CSV."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from studies.replay.compare import Interval, Replayed
from studies.replay.options import RULED
from studies.replay.rungs import MIN_ARMS, VALID_FROM, Rung
from trainer.record.run import write_atomically


def tables(rows: list[Replayed], rungs: list[Rung], console: Console, resampled: bool) -> None:
    """Print both tables; the title says where the trials are synthetic."""
    of = "RESAMPLED curves: " if resampled else ""
    shown = _table(f"Search strategies: {of}mean [95 % interval over arrival orders]")
    for name in (
        "strategy",
        "search epochs",
        "fewer",
        "with controls\nand confirmation",
        "wall time",
        "with controls\nand conf.",
        "regret",
        "best\nfound",
    ):
        shown.add_column(name, justify="left" if name == "strategy" else "right", overflow="fold")
    for row in rows:
        epochs, lost = Interval.of(row.epochs), Interval.of(row.regret)
        shown.add_row(
            row.strategy.name,
            _interval(epochs, 0),
            f"{_fewer(rows[0], row):.1f}x",
            f"{epochs.mean + row.after_epochs:.0f}",
            _time(float(row.wall.mean())),
            _time(float((row.wall + row.after_wall).mean())),
            _interval(lost, 2),
            "-" if math.isnan(lost.mean) else f"{100 * np.nanmean(row.found):.0f} %",
        )
    console.print(shown, markup=False)
    if rungs:
        shown = _table("Is the ranking at an early epoch that of the end? [95 % bootstrap over arms]")
        columns = (
            "epoch",
            "Spearman",
            "Kendall",
            "the best at the end\nstands here",
            "below untrained:\nall / best quarter",
        )
        for name in (*columns, "is a gate here valid?"):
            shown.add_column(name, justify="left" if name.startswith("is") else "right")
        for r in rungs:
            rho, tau = Interval(r.rho, r.rho_low, r.rho_high), Interval(r.tau, r.tau_low, r.tau_high)
            shown.add_row(
                str(r.epoch), _interval(rho, 2), _interval(tau, 2), f"{r.best_rank} of {r.arms}", _dip(r), r.verdict
            )
        console.print(shown, markup=False)
        console.print(
            f"valid: the interval of Spearman's rho lies at {VALID_FROM:g} or above; not valid: below; "
            f"no verdict under {MIN_ARMS} arms",
            highlight=False,
        )


def sentences(rows: list[Replayed]) -> list[str]:
    """Each ASHA variant against all-full-length and against one-epoch top-K, in words."""
    full, simple = rows[0], [row for row in rows if row.strategy.kind == "top-k"]
    text = []
    for row in rows:
        if row.strategy.kind not in RULED:
            continue
        text.append(
            f"{row.strategy.name} trains {_fewer(full, row):.1f}x fewer search epochs than all full length "
            f"({(full.epochs.mean() + full.after_epochs) / (row.epochs.mean() + row.after_epochs):.1f}x "
            "with controls and confirmation); "
            f"it gives up {_interval(Interval.of(row.regret), 2)}."
        )
        text += [against(row, other) for other in simple]
    for row in rows:
        if row.unpicked:
            text.append(
                f"{row.strategy.name}: nothing could be picked in {row.unpicked} of {len(row.regret)} orders; "
                "regret is over the others."
            )
        if row.not_run.any():
            text.append(
                f"{row.strategy.name}: {row.not_run.mean():.1f} trials per order failed too often and count as not run."
            )
        if row.failures.any() or row.preemptions.any():
            text.append(
                f"{row.strategy.name}: per order {row.failures.mean():.1f} failures, "
                f"{row.preemptions.mean():.1f} preemptions, {row.again.mean():.1f} epochs trained again."
            )
    return text


def against(asha: Replayed, simple: Replayed) -> str:
    """Which of the two is better, paired by arrival order: fewer epochs and no more regret, or a trade."""
    cost, loss = Interval.of(asha.epochs - simple.epochs), Interval.of(asha.regret - simple.regret)
    a, b = asha.strategy.name, simple.strategy.name
    numbers = f"({a} minus {b}: epochs {_interval(cost, 0, True)}, regret {_interval(loss, 2, True)})"
    if math.isnan(cost.low) or math.isnan(loss.low):
        return f"{b} against {a}: too few orders for a verdict {numbers}."
    dearer, cheaper = cost.low > 0, cost.high < 0
    worse, better = loss.low > 0, loss.high < 0
    if (dearer and not better) or (worse and not cheaper):
        return f"{b.capitalize()} BEATS {a}: {_both(dearer, worse)} {numbers}."
    if (cheaper and not worse) or (better and not dearer):
        return f"{a} beats {b}: {_both(cheaper, better)} {numbers}."
    if dearer or cheaper:
        first, second = (b, a) if dearer else (a, b)
        return f"{first} trains fewer epochs than {second} and gives up more: a trade, not a winner {numbers}."
    return f"No difference between {a} and {b} is resolved {numbers}."


def write_csv(rows: list[Replayed], rungs: list[Rung], folder: Path, resampled: bool) -> list[Path]:
    """``replay_strategies.csv`` and ``replay_rungs.csv``; returns their paths."""
    import pandas as pd

    strategies = []
    for row in rows:
        line: dict[str, object] = {
            "strategy": row.strategy.name,
            "kind": row.strategy.kind,
            "curves": "resampled" if resampled else "recorded",
        }
        line |= {"orders": len(row.epochs), "fewer": _fewer(rows[0], row)}
        columns = {"search_epochs": row.epochs, "all_epochs": row.epochs + row.after_epochs, "epochs_again": row.again}
        columns |= {"search_seconds": row.wall, "all_seconds": row.wall + row.after_wall, "worker_seconds": row.busy}
        columns |= {
            "failures": row.failures,
            "preemptions": row.preemptions,
            "not_run": row.not_run,
            "decisions": row.decisions,
        }
        for name, values in (columns | {"regret": row.regret}).items():
            found = Interval.of(values)
            line |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
        strategies.append(line | {"best_found": float(Interval.of(row.found).mean), "unpicked": row.unpicked})
    paths = []
    for name, lines in (("replay_strategies.csv", strategies), ("replay_rungs.csv", [vars(r) for r in rungs])):
        if lines:
            paths.append(folder / name)
            write_atomically(paths[-1], pd.DataFrame(lines).to_csv(index=False).encode())  # a missing number is empty
    return paths


def _both(fewer: bool, less: bool) -> str:
    return f"{'fewer' if fewer else 'no more'} epochs and {'less' if less else 'no more'} regret"


def _fewer(full: Replayed, row: Replayed) -> float:
    return float(full.epochs.mean() / row.epochs.mean()) if row.epochs.mean() else math.nan


def _dip(r: Rung) -> str:
    parts = (r.below_start, r.best_below_start)
    return " / ".join("-" if math.isnan(part) else f"{100 * part:.0f} %" for part in parts)


def _interval(value: Interval, digits: int, sign: bool = False) -> str:
    if math.isnan(value.mean):
        return "-"
    form = f"{'+' if sign else ''}.{digits}f"
    if math.isnan(value.low) or value.low == value.high:
        return f"{value.mean:{form}}"
    return f"{value.mean:{form}} [{value.low:{form}}, {value.high:{form}}]"


def _time(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _table(title: str) -> Table:
    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    shown.padding, shown.pad_edge = (0, 1, 0, 0), False
    return shown
