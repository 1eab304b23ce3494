"""The table of trials and the table of compared runs: plain values, which the page shows, sorts and filters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.page.facts import Facts
from analysis.page.health import missing_value
from analysis.page.progress import RUNNING
from analysis.recorded.arms import NOT_ENDED
from analysis.recorded.declared import LINACC
from analysis.recorded.study import values
from analysis.recorded.trials import COLUMNS as OF_TRIALS
from analysis.recorded.trials import NOT_RUN
from analysis.rendering.decimals import decimals
from analysis.rendering.render import number
from analysis.sentences.searched import STATES, rule_words

EARLY = "not ended"


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        kind: ``text``, ``number``, or ``value`` (a score: sorted within its epoch).
        digits: after the point, of numbers; None shows four figures.
    """

    key: str
    label: str
    kind: str = "text"
    digits: int | None = None
    title: str = ""


@dataclass(frozen=True)
class Table:
    """One of the two tables.

    Attributes:
        higher: whether more of the value is better; the best stand first.
        rows: one dict per row, with ``id``, ``state``, ``reason``, ``stratum``, ``flags`` and the columns' keys.
    """

    name: str
    title: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    higher: bool = True


def tables(facts: Facts) -> list[Table]:
    """The trials and the compared runs."""
    return facts.kept("tables", lambda: [_trials(facts), _runs(facts)])


def _trials(facts: Facts) -> Table:
    study, asked = facts.study, facts.study.declared
    search = study.search
    # a parameter may be called like a column of every trial; another name stands for its setting
    known = set(search.columns) - set(OF_TRIALS)
    settings = [name for name in (study.info.get("ranges") or {}) if name in known]
    settings += [column.name for column in asked.columns if column.name in known and column.name not in settings]
    settings = [name for name in settings if len(search) and search[name].notna().any()]
    symbols = {column.name: column.symbol or column.name for column in asked.columns}
    columns = [
        Column("id", "trial"),
        Column("value", "score @ epoch", "value", 1, "percent on validation, at the epoch the trial reached"),
        Column("state", "state"), Column("reason", "why"), Column("epoch", "epoch", "number", 0),
        *(Column(f"p.{name}", symbols.get(name, name), _kind(search[name])) for name in settings),
        Column("rank", "rank z_agg", "number", 1, "effective rank where it was last measured"),
        Column("source", "from", title="what suggested it"), Column("attempts", "attempts", "number", 0),
        Column("seconds", "device\N{NO-BREAK SPACE}s", "number", 0),
    ]  # fmt: skip
    paid = facts.spent.runs.set_index("name")[["attempts", "device_seconds"]].to_dict("index")
    ranks = {run_id: value for run_id, (_, value) in _last(facts, "rank_pr/z_agg@M").items()}
    scores = _last(facts, LINACC)
    rows = []
    for trial in search.to_dict("records"):
        name = trial["name"]
        cost = paid.get(name, {})
        epoch, value, reason = _whole(trial["epoch"]), _plain(trial["value"]), _reason(trial)
        if trial["state"] == "unfinished":  # what it has so far, at the epoch where that was measured
            epoch, value = scores.get(trial["run_id"], (None, None))
            reached, last = _reached(facts, trial["run_id"]), study.info.get("epochs")
            reason = "" if reached is None else f"epoch {reached}" + (f" of {last}" if last else "")
        row = {
            "id": name, "state": _state(facts, trial["state"]), "reason": reason, "epoch": epoch, "value": value,
            "stratum": asked.level(trial) if asked.stratum else "",
            "rank": _plain(ranks.get(trial["run_id"])), "source": trial["source"] or "",
            "attempts": _whole(cost.get("attempts")), "seconds": _plain(cost.get("device_seconds")),
            "flags": _flags(trial["state"]),
            "at": facts.changed.get(trial["run_id"]) if trial["state"] == "unfinished" else None,
        }  # fmt: skip
        rows.append(row | {f"p.{name}": _plain(trial[name]) for name in settings})
    higher = True  # a search score is an accuracy
    return Table("trials", "Search trials", columns, rows, higher)


def _runs(facts: Facts) -> Table:
    study, metric = facts.study, facts.study.declared.metric
    digits = decimals(metric.name)
    columns = [
        Column("id", "run"), Column("arm", "arm"), Column("seed", "seed", "number", 0),
        Column("value", f"{metric.words.removeprefix('linear accuracy of ')} @ epoch", "value", digits, metric.words),
        Column("state", "state"), Column("reason", "why"), Column("role", "role"),
        Column("epoch", "epoch", "number", 0),
        Column("rank", "rank z_agg", "number", 1), Column("gate", "gate"), Column("collapsed", "collapsed"),
        Column("attempts", "attempts", "number", 0), Column("seconds", "device\N{NO-BREAK SPACE}s", "number", 0),
    ]  # fmt: skip
    paid = facts.spent.runs.set_index("name")[["attempts", "device_seconds"]].to_dict("index")
    finals = study.finals
    scores = values(finals, metric.name).tolist()
    ranks = values(finals, "rank_pr/z_agg@M").tolist()
    rows = []
    for row, score, rank, lost in zip(finals.to_dict("records"), scores, ranks, missing_value(study), strict=True):
        key = (row["arm_id"], row["role"])
        cost = paid.get(row["run_id"], {})
        open_ = row["problem"].startswith(NOT_ENDED)
        state = "complete" if row["complete"] else _state(facts, "unfinished") if open_ else "incomplete"
        untrained = row["role"] == "untrained"
        judged = study.declared.kind(row["role"]) not in ("control", "untrained")  # those have a line of their own
        flags = [
            word
            for word, hit in (
                ("open", not row["complete"]),
                ("failed", row["problem"] in NOT_RUN.values()),
                ("nan", lost),
                ("collapsed", judged and _true(row["collapsed"])),
                ("gate", judged and _true(row["gate_passed"], False)),
            )
            if hit
        ]
        rows.append(
            {
                "id": row["run_id"], "arm": facts.names[key], "role": row["role"], "seed": _whole(row["seed"]),
                "state": state, "reason": "" if row["problem"] in ("", "no record") else row["problem"],
                "epoch": _whole(row["epoch"]), "value": _plain(score), "rank": _plain(rank),
                "gate": _word(row["gate_passed"], "passed", "FAILED"),
                "collapsed": _word(row["collapsed"], "yes", "no"),
                "stratum": (study.declared.level(row) or "") if study.declared.stratum else "",
                "attempts": 0 if untrained else _whole(cost.get("attempts")),
                "seconds": 0.0 if untrained else _plain(cost.get("device_seconds")), "flags": flags,
                "at": facts.changed.get(row["run_id"]) if open_ else None,
            }
        )  # fmt: skip
    return Table("runs", "Compared runs", columns, rows, metric.higher)


def shown(column: Column, row: dict[str, Any]) -> str:
    """A cell as a person reads it; the page's script does the same."""
    value = row.get(column.key)
    if column.kind == "value":
        return "-" if value is None else f"{number(value, column.digits or 0)} @ {row['epoch']}"
    if value is None or value == "":
        return "-"
    if column.kind == "number":
        return f"{value:.4g}" if column.digits is None else number(value, column.digits)
    return str(value)


def order(table: Table) -> list[dict[str, Any]]:
    """Best first: later epochs before earlier ones, since values of unlike epochs do not stand beside each other."""

    def place(row: dict[str, Any]) -> tuple[float, float, float]:
        value = row["value"]
        missing = value is None
        sign = -1.0 if table.higher else 1.0
        return (float(missing), -float(row["epoch"] or 0), 0.0 if missing else sign * value)

    return sorted(table.rows, key=place)


def _state(facts: Facts, state: str) -> str:
    if state != "unfinished":
        return STATES.get(state, state)
    return "running" if facts.progress.state == RUNNING else EARLY


def _flags(state: str) -> list[str]:
    return [
        word
        for word, hit in (("nan", state == "diverged"), ("failed", state in NOT_RUN), ("open", state == "unfinished"))
        if hit
    ]


def _reason(trial: dict[str, Any]) -> str:
    return rule_words(trial["stop_reason"]) if trial["stop_reason"] else ""


def _reached(facts: Facts, run_id: str | None) -> int | None:
    run = facts.study.runs.get(run_id or "")
    return run.reached if run is not None else None


def _last(facts: Facts, metric: str) -> dict[str, tuple[int, float]]:
    """(epoch, value) of each run where the metric was last measured."""
    curves = facts.study.curves
    if curves.empty:
        return {}
    known = curves.assign(last=values(curves, metric)).dropna(subset=["last"]).sort_values("epoch")
    known = known.drop_duplicates("run_id", keep="last")
    return dict(
        zip(known["run_id"], zip(known["epoch"].astype(int), known["last"].astype(float), strict=True), strict=True)
    )


def _kind(column: pd.Series) -> str:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in column.dropna().tolist())
    return "number" if pd.api.types.is_numeric_dtype(column) or numbers else "text"


def _plain(value: Any) -> Any:
    """For JSON: no NaN, no pandas or numpy type."""
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def _whole(value: Any) -> int | None:
    value = _plain(value)
    return None if value is None or value != value else int(value)


def _true(value: Any, wanted: bool = True) -> bool:
    """Whether a judgement was made and is the one."""
    return value is not None and not pd.isna(value) and bool(value) is wanted


def _word(value: Any, yes: str, no: str) -> str:
    return "" if value is None or pd.isna(value) else yes if value else no
