"""Damaged files: whatever hypothesis does to them, the outcome is a right table or one line that says what to do.

Every refusal names the file, exits with 2 and changes nothing. The commands run in this process; what they would train
with Ray, and their pictures, are left out.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from markupsafe import Markup
from mutations import damaged, retyped
from rich.console import Console
from small import SMALL

from analysis import __main__ as analysis_main
from analysis import report
from analysis.page import command as page
from analysis.page.figures.drawing import Drawing
from analysis.recorded.study import load
from studies import __main__ as studies_main
from studies import step2_rate
from studies.running import driver
from trainer import __main__ as trainer_main
from trainer.presets import __file__ as presets_file
from trainer.record import run as trainer_records

RECORDED = Path(__file__).parent / "recorded" / "study_of_30a56f8.tar.gz"
RESUME = "--quick --num-trials 2 --epochs 2 --stopping none --seeds 2 --wandb off --across-commits --resume".split()
METRIC = "linacc/z_agg@3"
REMEDIES = (
    "restore",
    "delete",
    "choose",
    "give",
    "use ",
    "must be",
    "should be",
    "did you mean",
    "continue it",
    "override",
    "add ",
)
COUNT: Counter[str] = Counter()


def mutated(examples: int):
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=examples,
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.explicit, Phase.generate],
        derandomize=True,
        database=None,
        suppress_health_check=checks,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished study of an earlier commit, and its table."""
    folder = tmp_path_factory.mktemp("whole")
    with tarfile.open(RECORDED) as archive:
        archive.extractall(folder, filter="data")
    study = (folder / "study").rename(folder / "step2_rate_digits_quick")
    return study, rows(study)


@pytest.fixture
def written(monkeypatch):
    """No pictures, no files, and nothing is trained: a study that would need Ray is interrupted."""
    monkeypatch.setattr(Drawing, "png", lambda *_: b"")
    monkeypatch.setattr(Drawing, "html", lambda *_: Markup(""))
    monkeypatch.setattr(driver, "_execute", lambda *_: False)
    monkeypatch.setattr(report, "terminal", lambda: Console(quiet=True))
    monkeypatch.setattr(report, "write_atomically", lambda path, content: None)


@pytest.fixture
def quick(written, monkeypatch):
    """The report and its page are only read for, which takes a tenth of the time."""
    monkeypatch.setattr(report, "report", lambda folder, *_, **__: load(folder))
    monkeypatch.setattr(page, "write", lambda folder: folder)


def rows(study: Path) -> dict[tuple, tuple]:
    """Each row of the table by arm and seed: whether it is complete, and its value."""
    frame = load(study).finals
    return {
        (one["arm_id"], one["role"], one["seed"]): (one["complete"], one.get(METRIC)) for _, one in frame.iterrows()
    }


def contents(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def outcome(main, argv, capsys, folder: Path, file: Path, kind: str) -> int:
    """Run a command; a refusal is one line with the file's name and a remedy, and nothing is changed."""
    before = contents(folder)
    code = main([str(word) for word in argv])
    error = capsys.readouterr().err
    COUNT[f"{kind}: {'refused' if code == 2 else 'accepted'}"] += 1
    if code == 2:
        assert error.startswith("error: ") and error.count("\n") == 1, error
        assert str(file) in error and any(word in error for word in REMEDIES), error
        assert contents(folder) == before, f"changed, though refused: {error}"
    return code


def right(found: dict, reference: dict) -> None:
    """No row is other than it was; what is not whole any more may be missing, or says that it is not complete."""
    for key, (complete, value) in found.items():
        assert key in reference
        assert not complete or math.isclose(value, reference[key][1]), (key, value)


def broken_copy(whole, tmp_path, name: str, raw: bytes) -> tuple[Path, Path]:
    study = tmp_path / whole[0].name
    shutil.rmtree(study, ignore_errors=True)
    shutil.copytree(whole[0], study)
    file = study / name
    file.write_bytes(raw)
    return study, file


@mutated(80)
@given(st.data())
def test_a_damaged_record_of_a_run(whole, quick, tmp_path, capsys, data):
    names = sorted(str(path.relative_to(whole[0])) for path in whole[0].glob("runs/*/records.jsonl"))
    name = data.draw(st.sampled_from(names))
    _, raw = data.draw(damaged((whole[0] / name).read_bytes()))
    study, file = broken_copy(whole, tmp_path, name, raw)
    if outcome(analysis_main.main, [study], capsys, tmp_path, file, "records") == 0:
        right(rows(study), whole[1])
    resumed = outcome(step2_rate.main, [*RESUME, "--results-dir", tmp_path], capsys, tmp_path, file, "records, resumed")
    if resumed == 0:  # nothing was to be trained again, so the table must be the old one
        assert {key: value for key, (_, value) in rows(study).items()} == pytest.approx(
            {key: value for key, (_, value) in whole[1].items()}
        )
    else:
        assert resumed in (2, 130)


@mutated(80)
@given(st.data())
def test_a_damaged_record_of_decisions(whole, quick, tmp_path, capsys, data):
    _, raw = data.draw(damaged((whole[0] / "decisions.jsonl").read_bytes()))
    study, file = broken_copy(whole, tmp_path, "decisions.jsonl", raw)
    if outcome(analysis_main.main, [study], capsys, tmp_path, file, "decisions") == 0:
        right(rows(study), whole[1])
    resumed = outcome(
        step2_rate.main, [*RESUME, "--results-dir", tmp_path], capsys, tmp_path, file, "decisions, resumed"
    )
    assert resumed in (0, 2, 130)
    if resumed == 0:
        right(rows(study), whole[1])


@mutated(50)
@given(st.data())
def test_a_damaged_study_file(whole, quick, tmp_path, capsys, data):
    _, raw = data.draw(damaged((whole[0] / "study.json").read_bytes()))
    study, file = broken_copy(whole, tmp_path, "study.json", raw)
    if outcome(analysis_main.main, [study], capsys, tmp_path, file, "study.json") == 0:
        right(rows(study), whole[1])
    resumed = outcome(
        step2_rate.main, [*RESUME, "--results-dir", tmp_path], capsys, tmp_path, file, "study.json, resumed"
    )
    assert resumed in (0, 2)
    if resumed == 0:
        right(rows(study), whole[1])


@mutated(6)
@given(st.data())
def test_a_report_on_damaged_files(whole, written, tmp_path, capsys, data):
    """All of it, with verdicts and costs, and the page."""
    name = data.draw(
        st.sampled_from(
            [
                "decisions.jsonl",
                "study.json",
                *sorted(str(path.relative_to(whole[0])) for path in whole[0].glob("runs/*/*.jsonl")),
            ]
        )
    )
    _, raw = data.draw(damaged((whole[0] / name).read_bytes()))
    study, file = broken_copy(whole, tmp_path, name, raw)
    outcome(analysis_main.main, [study], capsys, tmp_path, file, "report")
    outcome(analysis_main.main, ["report", study], capsys, tmp_path, file, "page")


@mutated(25)
@given(st.data())
def test_a_damaged_record_is_replayed_or_refused(whole, quick, tmp_path, capsys, data):
    name = data.draw(
        st.sampled_from(sorted(str(path.relative_to(whole[0])) for path in whole[0].glob("runs/*/records.jsonl")))
    )
    _, raw = data.draw(damaged((whole[0] / name).read_bytes()))
    study, file = broken_copy(whole, tmp_path, name, raw)
    words = ["replay", study, "--scheduler", "full", "--run-seeds", "0", "--orders", "3"]
    before = contents(tmp_path)
    assert studies_main.main([str(word) for word in words]) in (0, 2)
    error = capsys.readouterr().err
    assert error.count("\n") <= 1 and contents(tmp_path) == before
    COUNT["records, replayed"] += 1


TINY = [
    "--preset", "digits", "--gate", "none", "--wandb", "off", *SMALL, "data.sizes=[64,32,32]", "optim.batch_size=32",
    "schedule.horizon_epochs=2",
    "schedule.warmup_epochs=0", "runtime.across_commits=true",
]  # fmt: skip


@pytest.fixture(scope="module")
def begun(tmp_path_factory, few_steps):
    """A run after one of its two epochs, and the lines it would write next."""
    place = tmp_path_factory.mktemp("begun")
    for name, epochs in (("one", 1), ("two", 2)):
        assert trainer_main.main([*TINY, "--epochs", str(epochs), "--results-dir", str(place / name)]) in (0, 1)
    (one,), (two,) = (list((place / name).glob("single/runs/*")) for name in ("one", "two"))
    return one, lines_of(two)


def lines_of(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_bytes().splitlines()]
    return [
        trainer_records.comparable(line) for line in lines if line["event"] in ("epoch", "eval") and line["epoch"] == 2
    ]


@mutated(30)
@given(st.data())
def test_a_damaged_checkpoint(begun, tmp_path, capsys, data):
    """A run goes on from it as if nothing had happened, or says in one line that it will not."""
    place = tmp_path / "r"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(begun[0].parents[2], place)
    file = place / "single" / "runs" / begun[0].name / "checkpoint.pt"
    raw = file.read_bytes()
    kind = data.draw(st.sampled_from(["bit"] * 3 + ["cut", "doubled", "swapped", "type", "lost"]))
    at = data.draw(st.integers(0, len(raw) - 1))
    if kind == "bit":
        file.write_bytes(raw[:at] + bytes([raw[at] ^ (1 << data.draw(st.integers(0, 7)))]) + raw[at + 1 :])
    elif kind == "cut":
        file.write_bytes(raw[:at])
    elif kind == "doubled":
        file.write_bytes(raw[:at] + raw)
    elif kind == "swapped":
        file.write_bytes(raw[at:] + raw[:at])
    else:
        state = torch.load(file, weights_only=True)
        retyped(data.draw, state, lost=kind == "lost")
        torch.save(state, file)
    code = outcome(
        trainer_main.main, [*TINY, "--epochs", "2", "--results-dir", place], capsys, place, file, "checkpoint"
    )
    if code != 2:
        assert code in (0, 1) and lines_of(file.parent) == begun[1]


@mutated(50)
@given(st.data())
def test_a_damaged_preset(tmp_path, capsys, data):
    source = Path(presets_file).parent / "digits.yaml"
    _, raw = data.draw(damaged(source.read_bytes(), types=False))
    if data.draw(st.booleans()):
        key = data.draw(
            st.sampled_from(
                [
                    "optim",
                    "data",
                    "model",
                    "objective",
                    "schedule",
                    "eval",
                    "gates",
                    "runtime",
                    "epochs",
                    "seed",
                    "precision",
                    "extends",
                ]
            )
        )
        value = data.draw(
            st.sampled_from(
                [
                    "[]",
                    "{a: 3}",
                    "3",
                    "-1.5",
                    "'x'",
                    "null",
                    "[[]]",
                    "{1: 2}",
                    "2026-01-01",
                    "!!binary aGk=",
                    "~",
                    "1e999",
                    "&a [*a]",
                ]
            )
        )
        raw = (
            source.read_bytes() + f"\n{key}: {value}\n".encode()
            if data.draw(st.booleans())
            else f"{key}: {value}\n".encode()
        )
    file = tmp_path / "mine.yaml"
    file.write_bytes(raw)
    for main in (trainer_main.main, step2_rate.main):
        code = main(["--preset", str(file), "--dry-run", "--results-dir", str(tmp_path / "r")])
        error = capsys.readouterr().err
        assert code in (0, 2) and (code == 0 or (error.startswith("error: ") and error.count("\n") == 1)), error
        COUNT[f"preset: {'refused' if code else 'accepted'}"] += 1
    assert file.read_bytes() == raw and not (tmp_path / "r").exists()
