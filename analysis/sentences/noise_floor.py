"""The spread of the reference arm over seeds, measured before the search, in a sentence."""

from __future__ import annotations

import math

from analysis.recorded.study import Study, values
from analysis.rendering.decimals import decimals
from analysis.rendering.render import number
from analysis.statistics.paired import MIN_SEEDS
from trainer.record.resolvable import POWER, detectable, step


def noise_floor(study: Study) -> list[str]:
    """Mean and s.d. of the study's metric, and the smallest difference that the planned seeds resolve at this spread.

    The difference of two arms is taken to vary by sqrt(2) s.d., as if their runs on one seed had nothing in common; on
    paired seeds it varies less where they have.
    """
    line = next((line for line in reversed(study.decisions) if line["event"] == "noise"), None)
    if line is None:
        return []
    last, metric = study.info.get("epochs"), study.declared.metric
    rows = study.curves[study.curves["run_id"].isin(line["runs"]) & (study.curves["epoch"] == last)]
    found = values(rows, metric.name).dropna()
    seeds, n = ", ".join(map(str, line["seeds"])), len(study.info.get("seeds") or ())
    head = f"Noise floor, {line.get('label')} on seeds {seeds}"
    if len(found) < MIN_SEEDS:
        return [f"{head}: {len(found)} of {len(line['seeds'])} runs have ended, a spread takes {MIN_SEEDS}."]
    sd, digits = float(found.std(ddof=1)), decimals(metric.name)
    unit = f" {metric.unit}" if metric.unit else ""
    said = f"{head}: {metric.words} {number(found.mean(), digits)}{unit}, s.d. {number(sd, digits)}"
    contrasts = max(1, len(study.declared.contrasts))
    smallest = math.sqrt(2) * sd * detectable(n, step(contrasts, len(study.looks))) if n >= MIN_SEEDS else math.nan
    if not math.isfinite(smallest):
        return [f"{said}."]
    return [
        f"{said}. Were the runs of two arms on one seed unrelated, {n} seeds would resolve a true difference of"
        f" {number(smallest, digits)} in {100 * POWER:.0f} % of studies."
    ]
