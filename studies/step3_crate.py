"""What do CRATE's white-box blocks do in the place of the transformer that aggregates the views, or of the predictor?

    python studies/step3_crate.py --quick

CRATE and CRATE-alpha, each as deep as the transformer and again as large (inner width raised until the aggregator's
parameters are within 6 % of the transformer's), with and without an EMA teacher, under one strength of the coding
rate. The strength is the best of the digits studies for the transformer; without a teacher every aggregator as deep
also runs at a third and at three times of it, to see whether its own optimum lies beyond.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # run what lies beside this file

from trainer.command import early_interrupt  # noqa: E402

if __name__ == "__main__":
    early_interrupt.begin()

from typing import Any  # noqa: E402

from studies import Arm, Contrast, Show, Strata, Study  # noqa: E402
from studies.controls import CONTROLS  # noqa: E402

TEACHERS = ("stopgrad", "ema")
WEIGHT, EDGES = 0.03, (0.01, 0.1)
EXPAND = {"crate": 1.85, "crate_alpha": 1.05}
"""Inner width over the tokens' at which an aggregator has the transformer's parameters, within 6 %: -1.0 and +5.4 % on
digits, -4.2 and -2.4 % on CIFAR-100; heads divide the width, so it moves in steps."""
CRATE_PREDICTOR = {"model.predictor": "crate", "model.predictor_hidden": None}


def _arm(teacher: str, aggregator: str, matched: str, predictor: str, weight: float) -> Arm:
    """An arm; its reference is the transformer with the same teacher and strength, and the usual predictor."""
    settings: dict[str, Any] = {"objective.teacher": teacher, "objective.weights.rate": weight}
    settings |= {"model.aggregator": aggregator, "model.predictor": "mlp"}
    settings |= {} if teacher == "ema" else {"objective.ema": None}
    if matched == "params":
        settings[f"model.{aggregator}.expand"] = EXPAND[aggregator]
    if predictor == "crate":
        settings |= CRATE_PREDICTOR
    plain = aggregator == "transformer" and predictor == "mlp"
    same = [f"same {matched}"] if aggregator != "transformer" else []
    words = [aggregator, *same, *(["crate predictor"] if predictor == "crate" else []), teacher]
    label = f"{' '.join(words)} λ={weight:g}"
    key = _key(teacher, aggregator, matched, predictor, weight)
    reference = None if plain else _key(teacher, "transformer", "depth", "mlp", weight)
    return Arm(key, "transformer" if plain else "grid", label, settings, reference)


def _key(teacher: str, aggregator: str, matched: str = "depth", predictor: str = "mlp", weight: float = WEIGHT) -> str:
    return f"{teacher}/{aggregator}/{matched}/{predictor}/{weight:g}"


def arms(quick: bool) -> tuple[Arm, ...]:
    """All arms; ``quick`` has no teacher, no other strength and no CRATE predictor."""
    kinds = [("transformer", "depth")] + [(one, how) for how in ("depth", "params") for one in EXPAND]
    found = [_arm(t, one, how, "mlp", WEIGHT) for t in (TEACHERS[:1] if quick else TEACHERS) for one, how in kinds]
    if quick:
        return tuple(found)
    found.append(_arm("stopgrad", "transformer", "depth", "crate", WEIGHT))
    edges = [_arm("stopgrad", one, "depth", "mlp", w) for w in EDGES for one in ("transformer", *EXPAND)]
    return (*found, *edges)


def contrasts(arms: tuple[Arm, ...]) -> tuple[Contrast, ...]:
    """Both aggregators, matched both ways, without a teacher; the predictor; and vanilla CRATE under a teacher."""
    base = _key("stopgrad", "transformer")
    pairs = [
        (
            f"{one} minus transformer, same {'depth' if how == 'depth' else 'parameters'}",
            _key("stopgrad", one, how),
            base,
        )
        for how in ("depth", "params")
        for one in EXPAND
    ]
    pairs.append(("CRATE minus MLP predictor", _key("stopgrad", "transformer", predictor="crate"), base))
    pairs.append(
        ("crate minus transformer, same parameters, ema", _key("ema", "crate", "params"), _key("ema", "transformer"))
    )
    there = {arm.key for arm in arms}
    return tuple(Contrast(asks, one, other) for asks, one, other in pairs if {one, other} <= there)


STUDY = Study(
    name="step3_crate",
    question=__doc__.splitlines()[0],
    arms=arms,
    strata=Strata("teacher", TEACHERS),
    settings={
        "teacher": "objective.teacher",
        "aggregator": "model.aggregator",
        "predictor": "model.predictor",
        "expand_crate": "model.crate.expand",
        "expand_alpha": "model.crate_alpha.expand",
        "lambda_rate": "objective.weights.rate",
    },  # fmt: skip
    shown={
        "teacher": Show(),
        "aggregator": Show(),
        "predictor": Show(),
        "lambda_rate": Show("λ", "λ, weight of the coding rate"),
    },  # fmt: skip
    also=("r2_action", "rank_pr/z@M", "rank_pr/z_agg@M"),
    controls=CONTROLS,
    contrasts=contrasts,
)
main = STUDY.main

if __name__ == "__main__":
    sys.exit(main())
