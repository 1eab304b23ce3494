"""What the report says and draws, also in W&B and TensorBoard where the study is mirrored there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.engine.plan import Plan

if TYPE_CHECKING:
    import pandas as pd

NAME = "report"


def report_to_mirrors(plan: Plan, found: Callable[[Path], tuple[dict[str, pd.DataFrame], dict[str, Any]]]) -> None:
    """Send the study's report, as a run of its own named ``report``; whatever goes wrong is said and costs nothing.

    Args:
        found: the tables of a study's folder, and what it says in words.
    """
    files = sorted(file for file in (plan.folder / NAME).glob("*.*") if file.is_file())
    if not files or (plan.wandb == "off" and not plan.tensorboard):
        return
    from trainer.mirrors.mirror import Report, show_report

    figures = [file for file in files if file.suffix == ".png"]
    tables, said = found(plan.folder)
    config, folder = plan.config({}, plan.seeds[0]), plan.folder / NAME
    report = Report(figures, tables, files, said)
    trouble = show_report(report, config, plan.study, folder, plan.wandb, plan.tensorboard)
    if trouble:
        print(f"warning: {trouble}", file=sys.stderr)
