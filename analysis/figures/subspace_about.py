"""The label a study gave to the arm of a run whose diagnostics are drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from analysis.figures.subspace_style import Arrays
from trainer.record.study_lines import read_decisions


def with_study_label(arrays: Arrays, source: Path) -> dict[str, np.ndarray]:
    """The arrays with the arm named as its study names it, or the file itself where the arrays name no run.

    Args:
        source: STUDY/runs/RUN/name.npz, if the run belongs to a study; anywhere else it keeps its own description.
    """
    said = dict(arrays["about"].tolist()) if "about" in arrays else {"source": f"{source.parent.name}/{source.name}"}
    decisions = source.resolve().parent.parent.parent / "decisions.jsonl"
    if "run" in said and decisions.is_file():
        for line in read_decisions(decisions):
            if line.get("label") and (line.get("run_id") == said["run"] or said["run"] in (line.get("runs") or ())):
                said["arm"] = line["label"]
    return dict(arrays) | {"about": np.array(list(said.items()))}
