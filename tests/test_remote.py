"""Records at an address are read as a folder is. The store here is a folder behind pyarrow's own interface."""

from __future__ import annotations

import pandas as pd
import pytest
from pyarrow import fs
from test_analysis import full

import analysis
from analysis.__main__ import main
from analysis.frames import remote
from trainer.errors import UsageError


def test_an_address_gives_what_its_folder_gives(tmp_path):
    folder = full(tmp_path / "results" / "demo").folder
    (folder / "runs" / "s1-best-1" / "checkpoint.pt").write_bytes(b"0" * 1000)
    for path in (folder, folder.parent, next((folder / "runs").glob("s1-best-1/records.jsonl"))):
        near, far = analysis.load(path), analysis.load(f"file://{path}/" if path.is_dir() else f"file://{path}")
        for name, frame in near.items():
            columns = [column for column in frame if column not in ("source", "folder")]
            pd.testing.assert_frame_equal(getattr(far, name)[columns], frame[columns])
        assert (
            far.runs["source"].str.startswith(f"file://{path}").all()
            and not far.runs["source"].str.contains("records-").any()
        )
    copied = analysis.load(f"file://{folder}").loaded[0].folder
    assert copied != folder and not list(copied.rglob("checkpoint.pt")) and copied.name == "demo"


def test_an_address_without_anything_is_one_line(tmp_path, capsys):
    for address in (f"file://{tmp_path}/nothing", "nostore://x/y", f"file://{tmp_path}"):
        assert main(["export", address, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "address" in error or "holds no study" in error


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path, monkeypatch):
    (tmp_path / "store").mkdir()
    (tmp_path / "records.jsonl").write_text("secret")
    monkeypatch.setattr(remote, "_listed", lambda system, base: [f"{base}/../records.jsonl"])
    with pytest.raises(UsageError, match="leads out of its folder"):
        analysis.load(f"file://{tmp_path}/store")


def test_only_records_are_listed(tmp_path):
    folder = full(tmp_path / "demo").folder
    (folder / "optuna.db").write_text("x")
    listed = remote._listed(fs.LocalFileSystem(), str(folder))
    assert {path.rpartition("/")[2] for path in listed} == {"study.json", "decisions.jsonl", "records.jsonl"}
