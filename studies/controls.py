"""Arms every study carries so that its numbers can be judged."""

from __future__ import annotations

from studies.settings import Arm

SHARED = {"objective.teacher": "shared", "objective.ema": None, "objective.weights.rate": 0.0}

# gradient through the target branch: must collapse, or collapse is not what the study measures
_SHARED = Arm("shared", "shared", "shared target λ=0 (collapse control)", SHARED)
# the untrained encoder is epoch 0 of the shared control's runs: same seeds, same initialisation
_UNTRAINED = Arm("untrained", "untrained", "untrained encoder", SHARED)

CONTROLS = (_SHARED, _UNTRAINED)
