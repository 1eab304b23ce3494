"""A study is saved anywhere, also beside files whose names are those of our packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STUDY = """
from studies import Study

study = Study(name="lr", question="Which?", space=lambda trial: {"optim.lr": trial.suggest_float("lr", 1e-4, 1e-2)})
if __name__ == "__main__":
    raise SystemExit(study.main())
"""


def dry_run(folder: Path) -> subprocess.CompletedProcess:
    (folder / "my_study.py").write_text(STUDY, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "my_study.py", "--dry-run", "--executor", "process"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["trainer", "analysis", "search_spaces"])
def test_a_file_that_hides_a_package_is_named_before_anything_starts(name, tmp_path):
    file = tmp_path / f"{name}.py"
    file.write_text("", encoding="utf-8")
    done = dry_run(tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert (
        done.stderr == f"error: {file} hides the package {name!r} of {ROOT}; rename it, or move the study elsewhere\n"
    )


def test_a_package_that_hides_ours_is_named_by_its_folder(tmp_path):
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("", encoding="utf-8")
    done = dry_run(tmp_path)
    assert (
        done.returncode == 2
        and done.stderr.startswith(f"error: {tmp_path / 'analysis'} hides")
        and done.stderr.count("\n") == 1
    )


def test_other_files_and_plain_folders_hide_nothing(tmp_path):
    (tmp_path / "training.py").write_text("", encoding="utf-8")
    (tmp_path / "analysis").mkdir()
    done = dry_run(tmp_path)
    assert done.returncode == 0 and "study      lr" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["studies/step2_rate.py", "--dry-run"], ["-m", "trainer"], ["-m", "trainer.evaluate"],
        ["-m", "studies", "list"],
        ["-m", "analysis", "results"], ["-m", "clusters.vast", "offers"], ["-m", "clusters.bucket"],
        ["analysis/notebooks/execute.py"],
    ],
)  # fmt: skip
def test_a_python_without_our_libraries_is_told_in_one_line(words):
    """Whoever forgot to enter the environment that was made for this: -S takes the installed packages away."""
    done = subprocess.run([sys.executable, "-S", *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and not done.stdout and done.stderr.count("\n") == 1, done.stderr
    assert re.match(r"error: \w+ is not installed for ", done.stderr) and ".venv/bin/activate" in done.stderr
