"""Full-length learning curves from the records of runs, with a reason for every run that is left out.

A curve is the selection metric on the validation split after each epoch. Rows of the test split are never read
into a curve. A metric that is null on record is NaN, which every strategy treats as worst; an epoch at which the
metric was not measured is *missing*, which is something else and handled by an explicit rule (:func:`complete`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from studies.replay.runs import RunLines, read_runs
from trainer.errors import UsageError
from trainer.record.probing import other_probing

METRIC = "linacc/z_agg@M"
"""The studies' score: linear accuracy of the aggregate, percent; M stands for the run's own number of views."""
MISSING = ("leave-out", "last", "worst")


@dataclass(frozen=True)
class Curve:
    """One run.

    Attributes:
        values: the metric by epoch; NaN where it is null on record.
        length: epochs trained; the last one of a diverged run counts though it was not completed.
        seconds: mean seconds per epoch, training and probes, None if not on record.
        bracket: value of the setting by which strategies rank separately, "" for one ranking.
    """

    run: str
    arm: str
    seed: int
    values: dict[int, float]
    length: int
    diverged: bool
    seconds: float | None = None
    bracket: str = ""


@dataclass(frozen=True)
class Recorded:
    """Curves of one length, and what was not used.

    Attributes:
        epochs: full length; every curve reaches it or diverged before.
        left_out: (run, reason) of each run that gave no curve.
        notes: what a reader of the result must know, in sentences.
    """

    curves: list[Curve]
    epochs: int
    metric: str
    left_out: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def why_left_out(self) -> list[str]:
        """One line per reason with the number of runs and the first of them."""
        count = Counter(reason for _, reason in self.left_out)
        first = {reason: run for run, reason in reversed(self.left_out)}
        return [
            f"{n} {_runs(n)} left out: {reason} ({first[reason]}{', ...' if n > 1 else ''})"
            for reason, n in count.items()
        ]


def read_curves(
    paths: Iterable[Path],
    metric: str = METRIC,
    epochs: int | None = None,
    seeds: tuple[int, ...] | None = None,
    bracket_by: str | None = None,
) -> Recorded:
    """Curves of all runs under ``paths``.

    Args:
        paths: folders searched for ``records.jsonl``, or files in that format (of one run or several).
        metric: name on record; ``@M`` at its end stands for the run's number of observed views.
        epochs: full length; None takes the longest that a run completed. Longer curves are cut.
        seeds: of the runs used. None takes the one seed with the most runs, as a search draws one common seed;
            of several, only arms that have a curve on each are used.
        bracket_by: dotted setting that splits the ranking.

    Raises:
        UsageError: nothing usable, a damaged file, or runs whose data or schedule horizon differ.
    """
    runs, left_out, names = read_runs(paths, metric)
    usable = []
    for run in runs:
        reason = _unusable(run)
        if reason:
            left_out.append((run.name, reason))
        else:
            usable.append(run)
    _same_task(usable)
    full = (
        epochs
        if epochs is not None
        else max((max(run.evaluated) for run in usable if run.stop == "completed"), default=0)
    )
    curves = []
    for run in usable:
        curve = _curve(run, metric, full, bracket_by) if full else f"not full length: {run.stop or 'not ended'}"
        if isinstance(curve, str):
            left_out.append((run.name, curve))
        else:
            curves.append(curve)
    curves = _on_seeds(curves, seeds, left_out)
    recorded = Recorded(curves, full, metric, left_out, _notes(usable, runs))
    if not any(not curve.diverged for curve in curves):
        measured = f"metrics on record: {', '.join(names) or 'none'}"
        raise UsageError(
            " ".join(["no full-length run to replay;", *(f"{why};" for why in recorded.why_left_out()), measured])
        )
    return recorded


def complete(recorded: Recorded, needed: Iterable[int], missing: str = "leave-out") -> Recorded:
    """Curves with a value at every epoch where a strategy decides.

    Args:
        needed: those epochs; the full length is always needed and never filled in.
        missing: where the metric was not measured: ``leave-out`` the run; take the ``last`` value before (what a
            study's own score does between probes); or ``worst``, as if it were NaN.

    Raises:
        UsageError: no run is left.
    """
    curves, left_out, filled = [], list(recorded.left_out), Counter()
    for curve in recorded.curves:
        gaps = [
            epoch
            for epoch in sorted(set(needed))
            if epoch not in curve.values and not (curve.diverged and epoch >= curve.length)
        ]
        if gaps and missing == "leave-out":
            left_out.append((curve.run, f"{recorded.metric} was not measured at epoch {', '.join(map(str, gaps))}"))
            continue
        values = dict(curve.values)
        for epoch in gaps:
            earlier = [known for known in values if known < epoch]
            values[epoch] = values[max(earlier)] if missing == "last" and earlier else math.nan
            filled[epoch] += 1
        curves.append(replace(curve, values=values))
    notes = list(recorded.notes)
    rule = "the last value before it was used" if missing == "last" else "it counts as worst"
    notes += [
        f"{recorded.metric} was not measured at epoch {epoch} in {n} {_runs(n)}: {rule}"
        for epoch, n in sorted(filled.items())
    ]
    if not any(not curve.diverged for curve in curves):
        have = Counter(epoch for curve in recorded.curves for epoch in curve.values)
        everywhere = [str(epoch) for epoch, n in sorted(have.items()) if n == len(recorded.curves)]
        wanted = sorted(set(needed))
        raise UsageError(
            f"no run has {recorded.metric} at every epoch where a strategy decides "
            f"({', '.join(map(str, wanted))}); all have it at {', '.join(everywhere) or 'none'}: "
            "choose --grace, --gate and --scheduler to fit, another --metric, or --missing last; "
            f"a study run with --probe-epochs {','.join(map(str, wanted))} has it there"
        )
    return replace(recorded, curves=curves, left_out=left_out, notes=notes)


def measured(recorded: Recorded, epochs: Iterable[int]) -> bool:
    """Whether a run that did not diverge has the metric at all of these epochs."""
    return any(not curve.diverged and set(epochs) <= curve.values.keys() for curve in recorded.curves)


def _unusable(run: RunLines) -> str:
    if not run.evaluated:
        return (
            "scored on the test split only, which no selection may read"
            if run.test_rows
            else "nothing was evaluated on validation"
        )
    if not run.config:
        return "no configuration on record; was the beginning of the file cut off?"
    return ""


def _curve(run: RunLines, metric: str, full: int, bracket_by: str | None) -> Curve | str:
    """The curve, or why there is none."""
    reached = max(run.evaluated)
    diverged = (run.stop or "").startswith("diverged") and reached < full
    if not diverged and reached < full:
        return f"not full length: {run.stop or 'not ended'} at epoch {reached} of {full}"
    if not diverged and full not in run.values:
        return f"{metric} was not measured at epoch {full}, the full length"
    values = {epoch: value for epoch, value in run.values.items() if epoch <= full}
    times = [seconds for epoch, seconds in run.seconds.items() if epoch <= full]
    seconds = sum(times) / len(times) if times else None
    return Curve(
        run.name,
        run.arm,
        run.seed,
        values,
        reached + 1 if diverged else full,
        diverged,
        seconds,
        _setting(run.config, bracket_by),
    )


def _setting(config: dict[str, Any], key: str | None) -> str:
    if key is None:
        return ""
    value: Any = config
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise UsageError(
                f"--bracket-by {key}: the runs on record have no such setting; give a dotted key of their configuration"
            )
        value = value[part]
    return str(value)


def _same_task(runs: list[RunLines]) -> None:
    """Scores of different data or probes, or on schedules of different length, do not rank against each other."""
    for run in runs[1:]:
        if found := other_probing(runs[0].config, run.config):
            raise UsageError(
                f"{runs[0].name} was measured with {found} as {run.name}: such curves do not rank against each other;"
                " replay each study by itself"
            )
    for what, of in (
        ("data", lambda c: c.get("data")),
        ("schedule horizon", lambda c: c.get("schedule", {}).get("horizon_epochs")),
    ):
        first: dict[str, str] = {}
        for run in runs:
            first.setdefault(str(of(run.config)), run.name)
        if len(first) > 1:
            (a, run_a), (b, run_b) = list(first.items())[:2]
            differ = (
                f"{what} = {a} in {run_a}, {b} in {run_b}"
                if what != "data"
                else f"the data settings of {run_a} and {run_b} differ"
            )
            raise UsageError(f"{differ}: such curves do not rank against each other; replay each study by itself")


def _on_seeds(curves: list[Curve], seeds: tuple[int, ...] | None, left_out: list[tuple[str, str]]) -> list[Curve]:
    if seeds is None:
        count = Counter(curve.seed for curve in curves)
        seeds = tuple(sorted(count, key=lambda seed: (-count[seed], seed))[:1])
    of_arm: dict[str, set[int]] = {}
    for curve in curves:
        of_arm.setdefault(curve.arm, set()).add(curve.seed)
    kept = []
    for curve in curves:
        if curve.seed not in seeds:
            left_out.append((curve.run, f"seed is not {' or '.join(map(str, seeds))} (--run-seeds)"))
        elif not set(seeds) <= of_arm[curve.arm]:
            left_out.append((curve.run, f"its arm has no run on every one of seeds {', '.join(map(str, seeds))}"))
        else:
            kept.append(curve)
    return kept


def _notes(usable: list[RunLines], runs: list[RunLines]) -> list[str]:
    notes = []
    tested = sum(run.test_rows for run in runs)
    if tested:
        notes.append(
            f"{tested} rows of the test split were passed over: replay selects, and selection reads validation"
        )
    commits = set().union(*(run.commits for run in usable))
    if len(commits) > 1:
        notes.append(
            f"the runs were recorded by {len(commits)} commits ({', '.join(sorted(c[:10] for c in commits))}); "
            "their numbers may differ for that"
        )
    return notes


def _runs(n: int) -> str:
    return "run" if n == 1 else "runs"
