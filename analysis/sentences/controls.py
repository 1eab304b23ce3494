"""Controls that must collapse and did not: what a report says beside its answer, wherever it is read."""

from __future__ import annotations

from analysis.recorded.study import Study

UNNOTICED = "so nothing shows that collapse would be noticed"


def failed_controls(study: Study) -> list[str]:
    """One sentence for each; a run that could not be judged says nothing."""
    said = []
    for key in study.arms.ordered:
        judged = study.arms.rows[key]["collapsed"].dropna()
        if study.declared.controls.get(key[1]) == "collapse" and not judged.all():
            count = f"{int(judged.sum())} of {len(judged)} runs"
            said.append(f"CONTROL FAILED: {study.arms.names[key]} collapsed in {count}, {UNNOTICED}.")
    return said
