"""The report's figures, also in W&B and TensorBoard where the study is mirrored there."""

from __future__ import annotations

import sys

from studies.engine.plan import Plan

NAME = "report"


def figures_to_mirrors(plan: Plan) -> None:
    """Send every PNG of the study's report, as a run of its own named ``report``; whatever goes wrong is said and costs
    nothing."""
    figures = sorted((plan.folder / NAME).glob("*.png"))
    if not figures or (plan.wandb == "off" and not plan.tensorboard):
        return
    from trainer.mirrors import show_figures

    config = plan.config({}, plan.seeds[0])
    trouble = show_figures(figures, config, plan.study, plan.folder / NAME, plan.wandb, plan.tensorboard)
    if trouble:
        print(f"warning: {trouble}", file=sys.stderr)
