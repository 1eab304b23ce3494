"""Notebooks are what their sources say and what their cells give, and say what is missing in studies that are not
whole."""

import gzip
import io
import json
import runpy
import tarfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from page_studies import all_nan, empty, half, one_trial
from test_analysis import full

from analysis.recorded.packed import unpacked
from trainer.errors import UsageError

FOLDER = Path(__file__).parent.parent / "analysis" / "notebooks"
TOOL = runpy.run_path(str(FOLDER / "execute.py"))
NAMES, STUDIES = (
    TOOL["NAMES"],
    {"empty": empty, "one trial": one_trial, "only NaN": all_nan, "half": half, "full": full},
)
MOST_CELLS, MOST_LINES = 12, 8
BEGUN = {"results": "demo is ", "subspace": "No run has subspace diagnostics", "gate_validity": "runs have a score"}
MISSING = {
    "results": ("Not finished, so what follows is no verdict yet", "No arm has both a search score"),
    "subspace": ("No run has subspace diagnostics", "No run has arrays on record"),
    "gate_validity": ("too few for a rank correlation", "There are not both collapsed runs and others"),
}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def committed(name):
    import nbformat

    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_every_source_has_its_notebook_and_the_other_way_round():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
    assert {path.stem for path in FOLDER.glob("*.py")} == {*NAMES, "execute"}


def test_a_notebook_is_its_source(name):
    found, wanted = committed(name), TOOL["source"](name)
    assert [(cell.cell_type, cell.source) for cell in found.cells] == [
        (cell.cell_type, cell.source) for cell in wanted.cells
    ]
    assert [cell["id"] for cell in found.cells] == [cell["id"] for cell in wanted.cells]


def test_a_notebook_is_short_and_keeps_nothing_of_the_machine_it_ran_on(name):
    found = committed(name)
    assert len(found.cells) <= MOST_CELLS
    for cell in found.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            lines = [line for line in cell.source.splitlines() if line and not line.startswith(("import ", "from "))]
            assert len(lines) <= MOST_LINES, cell.source
            assert not any(setting in cell.source for setting in ("teacher", "lambda_", "λ"))
            kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
            assert kinds <= {"text/plain", "image/png"} and not any(o.get("name") == "stderr" for o in cell.outputs)
    assert sorted(found.metadata) == ["jupytext", "kernelspec", "language_info"]
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 200_000
    assert not any(place in text for text in TOOL["text_of"](found) for place in ("/tmp", "/home", "/root", " at 0x"))


def test_a_name_that_is_none_is_one_line(capsys):
    assert TOOL["main"](["result"]) == 2
    said = capsys.readouterr().err
    assert said == "error: result: no such notebook; there are results, subspace, gate_validity\n"


def test_executed_again_it_says_the_same(name):
    again = TOOL["executed"](name)
    old, new = TOOL["text_of"](committed(name)), TOOL["text_of"](again)
    assert [text.split() for text in new] == [text.split() for text in old]  # pandas pads as it likes
    assert pictures(again) == pictures(committed(name)) > 0


def pictures(notebook):
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))


@pytest.mark.parametrize("kind", STUDIES)
def test_a_study_that_is_not_whole_is_told_and_nothing_raised(name, kind, tmp_path, capsys):
    said = told(name, STUDIES[kind](tmp_path / "demo").folder, capsys)
    assert BEGUN[name] in said and "nan" not in said.lower(), said
    if kind in ("empty", "one trial", "only NaN"):
        for sentence in MISSING[name]:
            assert sentence in said, said


def test_no_study_at_all_is_told_too(name, tmp_path, capsys):
    """A results folder in which nothing has begun is refused by name; a single run is no study."""
    with pytest.raises(UsageError, match="holds no study"):
        told(name, tmp_path, capsys)
    study = full(tmp_path / "demo")
    run = next(path for path in sorted((study.folder / "runs").iterdir()))
    assert "nan" not in told(name, run, capsys).lower()


def told(name, study, capsys):
    """What the cells print, run as one plain program."""
    import pandas as pd

    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    lines = [f"STUDY = {str(study)!r}" if line.startswith("STUDY = ") else line for line in text.splitlines()]
    assert lines != text.splitlines()
    with pd.option_context("display.width", 110, "display.precision", 2), plt.rc_context(), warnings.catch_warnings():
        # not a mark of the test: what earlier tests left behind would then be charged to this one
        warnings.simplefilter("error")
        exec(compile("\n".join(lines), f"{name}.py", "exec"), {"__name__": "__main__"})
    plt.close("all")
    return capsys.readouterr().out


# --- packed records


def packed(folder, path, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        archive.add(folder, arcname=folder.name)
    return path


@pytest.mark.parametrize("mode", ["gz", "xz"])
def test_a_packed_study_loads_as_its_folder_does(tmp_path, mode):
    import analysis

    study = full(tmp_path / "demo")
    path = packed(study.folder, tmp_path / f"demo.tar.{mode}", f"w:{mode}")
    (there,), (here,) = analysis.load(unpacked(path)).loaded, analysis.load(study.folder).loaded
    assert there.finals.equals(here.finals) and len(here.finals)
    assert unpacked(study.folder) == study.folder


def test_packed_curves_become_a_record_each(tmp_path):
    lines = [{"study": "s", "run_id": run, "event": "eval", "n": n} for n in range(2) for run in ("a-s1", "b-s1")]
    path = tmp_path / "curves.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    records = sorted(unpacked(path).rglob("records.jsonl"))
    assert [record.parent.name for record in records] == ["a-s1", "b-s1"]
    assert [json.loads(line)["n"] for line in records[0].read_text().splitlines()] == [0, 1]


MOST = 10_000
"""Bytes that the archives below may unpack to."""


def outside(path):
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("../evil")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))


def huge(path):
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("zeros")
        member.size = MOST + 1
        archive.addfile(member, io.BytesIO(bytes(MOST + 1)))


def long(path):
    path.write_bytes(gzip.compress(json.dumps({"study": "s", "run_id": "a-s1", "x": "0" * MOST}).encode()))


def climbing(path):
    path.write_bytes(gzip.compress(json.dumps({"study": "s", "run_id": "../../evil"}).encode()))


BAD = {
    "text": ("a.tar.gz", lambda path: path.write_text("no archive")),
    "cut": ("b.tar.gz", lambda path: (outside(path), path.write_bytes(path.read_bytes()[:40]))),
    "outside": ("c.tar.gz", outside),
    "huge": ("d.tar.gz", huge),
    "long": ("i.jsonl.gz", long),
    "climbing": ("e.jsonl.gz", climbing),
    "list": ("f.jsonl.gz", lambda path: path.write_bytes(gzip.compress(b"[1]\n"))),
    "no json": ("g.jsonl.gz", lambda path: path.write_bytes(gzip.compress(b"{\n"))),
    "absent": ("h.tar.gz", lambda path: None),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_archive_is_one_line(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("analysis.recorded.packed._MOST", MOST)
    name, make = BAD[kind]
    make(tmp_path / name)
    with pytest.raises(UsageError) as refused:
        unpacked(tmp_path / name)
    assert name in str(refused.value) and "give a" in str(refused.value) and "\n" not in str(refused.value)
    assert not list(tmp_path.parent.rglob("evil"))
