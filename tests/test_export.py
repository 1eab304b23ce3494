"""The frames as files: what is read back is what was written."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest
from test_analysis import full

import analysis
from analysis.__main__ import COMMANDS, main
from analysis.frames.columns import COLUMNS


def test_files_read_back_as_what_was_loaded(tmp_path, capsys):
    folder = full(tmp_path / "demo").folder
    found = analysis.load(folder)
    for form in ("parquet", "json", "csv"):
        assert main(["export", str(folder), "--format", form, "--out", str(tmp_path / form)]) == 0
        assert {path.name for path in (tmp_path / form).iterdir()} == {
            "columns.csv",
            *(f"{name}.{form}" for name in COLUMNS),
        }
        assert "12 trials" in capsys.readouterr().out
    for name, frame in found.items():
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "parquet" / f"{name}.parquet"), frame)
        rows = json.loads((tmp_path / "json" / f"{name}.json").read_text(encoding="utf-8"))
        lines = pd.read_csv(tmp_path / "csv" / f"{name}.csv")
        assert len(rows) == len(lines) == len(frame)
        for column in frame.select_dtypes("number"):
            expected = frame[column].astype(float).tolist()
            assert [float("nan") if row[column] is None else row[column] for row in rows] == pytest.approx(
                expected, rel=0, abs=0, nan_ok=True
            )
            assert lines[column].astype(float).tolist() == pytest.approx(expected, rel=1e-15, abs=0, nan_ok=True), (
                column
            )
    assert pd.read_csv(tmp_path / "csv" / "columns.csv")["column"].tolist() == analysis.columns()["column"].tolist()


def test_an_empty_frame_keeps_its_columns(tmp_path):
    folder = full(tmp_path / "demo").folder
    for path in (folder / "runs").rglob("*"):
        if path.is_file():
            path.unlink()
    (folder / "decisions.jsonl").write_text("")
    assert main(["export", str(folder), "--format", "parquet", "--out", str(tmp_path / "out")]) == 0
    read = pd.read_parquet(tmp_path / "out" / "runs.parquet")
    assert read.empty and read.dtypes.astype(str).equals(analysis.load().runs.dtypes.astype(str))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["export", "nowhere", "--out", "x"], "nowhere: there is no such file or folder"),
        (["export", "nowhere"], "--out"),
        (["export", "nowhere", "--out", "x", "--format", "xls"], "xls"),
        (["exprot", "nowhere"], "did you mean export?"),
        (["nowhere"], "nowhere is not a study folder"),
    ],
)
def test_mistakes_are_one_line(words, said, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and error.startswith("error: ")


def test_help_names_every_command_and_loads_nothing(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"python -m analysis {name}" in shown for name in COMMANDS)
    code = (
        "import sys\nfrom analysis.__main__ import main\n"
        "try: main([*sys.argv[1:], '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('pandas', 'matplotlib', 'torch', 'ray') if m in sys.modules], file=sys.stderr)"
    )
    for name in ([], *([name] for name in COMMANDS)):
        done = subprocess.run([sys.executable, "-c", code, *name], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "[]" and "usage: python -m analysis" in done.stdout
