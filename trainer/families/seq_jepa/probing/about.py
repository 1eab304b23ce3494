"""Who a file of diagnostics is about: the lines that every figure drawn from it carries."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.record.identity import run_id


def about(config: SeqJEPAConfig, epoch: int, split: str, metrics: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The array ``about`` (n, 2) of names and texts: run, arm, seed, epoch, split and score.

    Args:
        metrics: of the same epoch; the score is the linear accuracy of the aggregate, in percent, if it was measured.
    """
    score = metrics.get(f"linacc/z_agg@{config.data.observed_views}")
    said = {
        "run": run_id(config), "arm": arm_label(config), "seed": str(config.seed), "epoch": str(epoch), "split": split,
        "score": "" if score is None or not np.isfinite(score) else f"{score:.1f}",
    }  # fmt: skip
    return {"about": np.array(list(said.items()))}


def arm_label(config: SeqJEPAConfig) -> str:
    """Data set, teacher and the weights of the loss terms beside the prediction: ``digits, stopgrad, λ=0.1``."""
    weights = config.objective.weights.model_dump()
    weights.pop("predict")
    terms = [f"λ={weights.pop('rate'):g}", *(f"{name}={weight:g}" for name, weight in weights.items() if weight)]
    return ", ".join([config.data.name, config.objective.teacher, *terms])
