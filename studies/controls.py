"""Controls for any study of this model: without them a number cannot be judged."""

from __future__ import annotations

from studies.engine.question import Control

SHARED = {"objective.teacher": "shared", "objective.ema": None, "objective.weights.rate": 0.0}

COLLAPSE = Control("shared", "shared target λ=0 (collapse control)", SHARED)
"""The gradient flows through the target branch: it must collapse, or collapse is not what the study measures."""
UNTRAINED = Control("untrained", "untrained encoder", SHARED, must="start")
"""Epoch 0 of the collapse control's runs: same seeds, same initialisation."""

CONTROLS = (COLLAPSE, UNTRAINED)
