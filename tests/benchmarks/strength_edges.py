"""Does the coding rate's strength of Steps 3 and 4 sit at an edge for any of their aggregators?

    python tests/benchmarks/strength_edges.py --executor process --seeds 3

Every aggregator of the two studies, with and without a teacher where they have it, at a third of their strength, at it
and at three times of it. An arm whose accuracy is highest at an end would have been compared at a strength that is not
its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from studies import Arm, Contrast, Show, Strata, Study, step3_crate, step4_tost  # noqa: E402  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402

BEYOND = {"stopgrad/crate_alpha/params/mlp/0.03": (0.3,), "ema/crate/params/mlp/0.03": (0.003,)}
"""Further strengths of arms that were best at an end."""
WEIGHTS = (*step3_crate.EDGES[:1], step3_crate.WEIGHT, *step3_crate.EDGES[1:])


def _at(arm: Arm, weight: float) -> Arm:
    """The arm of a study at another strength; its reference is itself at the study's."""
    label = arm.label.rpartition(" ")[0]
    middle = weight == step3_crate.WEIGHT
    overrides = arm.overrides | {"objective.weights.rate": weight}
    reference = None if middle else f"{arm.key}@{step3_crate.WEIGHT:g}"
    return Arm(
        f"{arm.key}@{weight:g}", "transformer" if middle else "grid", f"{label} λ={weight:g}", overrides, reference
    )


def arms(quick: bool) -> tuple[Arm, ...]:
    """Aggregators at three strengths; ``quick`` has those of Step 4 with three views alone."""
    kept = [arm for arm in step4_tost.arms(quick=False) if arm.overrides["data.observed_views"] == step4_tost.VIEWS[0]]
    found = [arm for arm in kept if arm.overrides["model.aggregator"] == "tost"]
    if not quick:
        found += [
            arm
            for arm in step3_crate.arms(quick=False)
            if arm.overrides["objective.weights.rate"] == step3_crate.WEIGHT
            and arm.overrides["model.predictor"] == "mlp"
        ]
    return tuple(_at(arm, weight) for arm in found for weight in (*WEIGHTS, *BEYOND.get(arm.key, ())))


def contrasts(arms: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    """Each end minus the middle, for three arms whose strengths no study has tried; the others are exploratory."""
    tried = ("class_attention/", *(f"stopgrad/{one}/params/" for one in step3_crate.EXPAND))
    ends = (arm for arm in arms if arm.reference and arm.key.startswith(tried) and arm.key.endswith(("@0.01", "@0.1")))
    return tuple(Contrast(f"{arm.label} minus λ={step3_crate.WEIGHT:g}", arm.key, arm.reference) for arm in ends)


STUDY = Study(
    name="strength_edges",
    question=__doc__.splitlines()[0],
    arms=arms,
    strata=Strata("teacher", step3_crate.TEACHERS),
    settings=step3_crate.STUDY.settings | {"readout": "model.tost.readout"},
    shown={"teacher": Show(), "aggregator": Show(), "readout": Show(), "lambda_rate": Show("λ")},
    also=("r2_action", "rank_pr/z@M", "rank_pr/z_agg@M"),
    controls=CONTROLS,
    contrasts=contrasts,
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
