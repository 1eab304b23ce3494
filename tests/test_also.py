"""Metrics that a study shows beside its own: what wins on one may lose on another, and the first table has both."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace

import pytest
from rich.console import Console
from test_power import random_arms, recorded

from analysis import report
from analysis.page.figures.drawing import Drawing
from studies import step2_grid, step2_rate, step2_schedule, step2_target, step2_variants
from studies.command.options import parser
from studies.engine.metrics import ACTIONS, beside
from trainer.errors import UsageError

STUDY = step2_rate.STUDY


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(Drawing, "png", lambda *_: b"")


def first_table(folder, also: tuple[str, ...], width: int) -> list[str]:
    study = replace(STUDY, also=also)
    noted = json.loads(json.dumps(asdict(study.declaration(study.fixed_arms(False)))))
    console = Console(file=io.StringIO(), width=width)
    report.report(recorded(folder, random_arms(4), declared=noted), console)
    lines = console.file.getvalue().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Linear accuracy (%)"))
    end = next(number for number, line in enumerate(lines) if line.startswith("Report:"))
    assert all(len(line) <= width for line in lines[start:end])
    return lines[start:end]


def test_the_first_table_has_the_action_probe_beside_the_accuracy(tmp_path):
    table = "\n".join(first_table(tmp_path / "with", ("r2_action",), 80))
    assert table.startswith("Linear accuracy (%) and R2 of the actions, mean")
    assert "R2 of the" in table and "actions" in table and table.count("3.00 ± 0.00") == 4
    assert "minus reference" in table
    without = "\n".join(first_table(tmp_path / "without", (), 80))
    assert "R2" not in without and "3.00" not in without


@pytest.mark.parametrize("width", [80, 100, 120])
def test_another_metric_has_its_own_digits_and_place(tmp_path, width):
    table = first_table(tmp_path / "loss", ("predict/z_hat@M", "r2_action"), width)
    said = " ".join(" ".join(table[:2]).split())
    both = "Linear accuracy (%), prediction loss (less is better) and R2 of the actions, mean"
    assert said.startswith("Linear accuracy (%) and prediction loss (less is better), mean" if width == 80 else both)
    # a narrow screen has room for the first alone
    assert sum("0.10 ± 0.00" in line for line in table) == 4
    assert sum("3.00 ± 0.00" in line for line in table) == (0 if width == 80 else 4)


def test_a_wrong_name_is_refused():
    with pytest.raises(UsageError, match="metric 'accuracy': no study records it"):
        replace(STUDY, also=("accuracy",)).declaration(STUDY.fixed_arms(False))
    with pytest.raises(UsageError, match="also 'linacc/z_agg@M': is the study's metric already"):
        replace(STUDY, also=("linacc/z_agg@M",)).declaration(STUDY.fixed_arms(False))
    with pytest.raises(UsageError, match="also 'r2_action': must be a tuple of names"):
        parser(replace(STUDY, also="r2_action"))


def test_the_studies_of_step_2_show_it_for_runs_of_any_scaling(tmp_path, capsys):
    for module in (step2_grid, step2_rate, step2_schedule, step2_target, step2_variants):
        assert module.STUDY.also == ("r2_action",) and beside("r2_action") == ACTIONS
    words = ["--dry-run", "--results-dir", str(tmp_path), "data.action_scale=none"]
    assert step2_rate.main(words) == 0, capsys.readouterr().err
