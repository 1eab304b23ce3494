"""Rows of a run's record, whether it belongs to a study or stands alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.frames.build import flat
from analysis.frames.columns import EVALUATION, SINGLE
from analysis.recorded.runs import Run, read_run
from trainer.record.probing import probing
from trainer.record.run_lines import read_run as read_lines

NOT_SCIENCE = ("seed", "epochs", "eval", "gates", "runtime")
"""Groups of a configuration that do not say what the arm is."""
_LINACC = "linacc/z_agg@"
_PLACE = ("attempt", "step", "samples_seen", "probe_epoch", "split")


def epoch_rows(run: Run, study: str, run_id: str, source: Path, resolved: list[str], origin: str) -> Iterator[dict]:
    """One row per epoch and split: training terms on train, probes on validation.

    Args:
        resolved: declared metrics that end in @M.
    """
    who = {"study": study, "run_id": run_id, "arm_id": run.arm_id, "seed": run.seed}
    who |= {"origin": origin, "source": str(source), "conflict": False}
    names = {name: f"{name[:-1]}{run.views}" for name in (*resolved, f"{_LINACC}M")}
    for epoch in sorted({*run.training, *run.evals}):
        for line in (run.training.get(epoch), run.evals.get(epoch)):
            if line is not None:
                yield who | {"epoch": epoch} | measured(line, names)


def measured(line: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """What a line says of its place in training, its times and its metrics.

    Args:
        names: metric by the name that it shall have as well.
    """
    row: dict[str, Any] = {name: line.get(name) for name in _PLACE}
    row |= {f"seconds.{kind}": value for kind, value in (line.get("seconds") or {}).items()}
    metrics = line["metrics"]
    row |= metrics
    row |= {name: metrics[own] for name, own in names.items() if own in metrics}
    return row


def run_row(run: Run | None) -> dict[str, Any]:
    """The columns of ``runs`` that a record alone gives."""
    if run is None:
        return {"complete": False, "state": "planned", "reason": "no record"}
    started = run.started
    row: dict[str, Any] = {
        "arm_id": run.arm_id,
        "seed": run.seed,
        "epoch": run.reached,
        "attempts": started.get("attempt"),
    }
    row |= {"views": run.views, "dataset": data_sets(run.config), "commit": run.commit}
    row |= {"dirty": run.dirty, "device": started.get("device"), "host": started.get("host")}
    row["processor"] = started.get("processor")
    row |= {"split_hash": started.get("split_hash"), "gate_passed": (run.stop.get("gate") or {}).get("passed")}
    problem = run.problem(run.epochs)
    row |= {"complete": not problem, "reason": problem, "state": state(run)}
    if run.reached is not None:
        row["collapsed"] = run.collapsed(run.reached)
    return row


def state(run: Run) -> str:
    """How a run ended, in a word of ``columns.STATES``."""
    reason = str(run.stop.get("reason") or "")
    if reason == "completed":
        return "complete"
    ended = next((word for word in ("diverged", "collapsed") if reason.startswith(word)), None)
    return ended or ("failed" if run.stop.get("event") == "error" else "pruned" if reason else "unfinished")


def single(path: Path) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Rows for ``runs``, ``arms`` and ``epochs`` of a record outside studies.

    Args:
        path: records.jsonl.
    """
    run = read_run(path)
    first = next(iter(read_lines(path)), {})
    study, run_id = str(first.get("study") or path.parent.parent.parent.name), path.parent.name
    seconds = sum(value or 0.0 for line in run.evals.values() for value in (line.get("seconds") or {}).values())
    row = {"study": study, "run_id": run_id, "phase": "single", "origin": SINGLE, "source": str(path)} | run_row(run)
    row |= {"seconds": seconds or None}
    arm = {"study": study, "arm_id": run.arm_id, "role": "single", "arm": run.arm_id, "origin": SINGLE}
    arm |= {"commit": run.commit, "dirty": run.dirty} | flat(run.config, without=NOT_SCIENCE)
    return row, arm, list(epoch_rows(run, study, run_id, path, [], SINGLE))


def evaluation_rows(path: Path, study: str | None = None) -> list[dict[str, Any]]:
    """Rows of an evaluation record; they never take part in a choice or a test.

    Args:
        study: name to give; default: the one on record.
    """
    config = _config(path.with_name("records.jsonl"))
    names, own, rows = (
        {f"{_LINACC}M": f"{_LINACC}{(config.get('data') or {}).get('observed_views')}"},
        probing(config),
        [],
    )
    for line in read_lines(path):
        who = {"study": study or line.get("study"), "run_id": line["run_id"], "arm_id": line["arm_id"]}
        who |= {"seed": line["seed"], "epoch": line.get("epoch"), "origin": EVALUATION, "source": str(path)}
        given = dict(text.partition("=")[::2] for text in (line.get("settings") or {}).get("overrides") or [])
        other = [f"{key}={value}" for key, value in given.items() if key in own and value.strip() != str(own[key])]
        if other:
            who["caveat"] = f"measured with {', '.join(other)}, unlike the run's own numbers"
        rows.append(who | {"conflict": False} | measured(line, names))
    return rows


def data_sets(config: Mapping[str, Any]) -> str | None:
    """Name of a configuration's data set; of a mixture all of them, joined by +."""
    data = config.get("data") or {}
    mixed = data.get("mixture") if isinstance(data.get("mixture"), list) else []
    names = [str(one["name"]) for one in mixed if isinstance(one, dict) and one.get("name")]
    return "+".join(names) or data.get("name")


def _config(record: Path) -> dict[str, Any]:
    """Configuration of the run whose record lies beside its evaluations; {} without one."""
    first = next(iter(read_lines(record)), {}) if record.is_file() else {}
    return first.get("config") or {}
