"""A study as an experiment log: all its sections, numbers of the report, nothing decided."""

from __future__ import annotations

import json

import pytest
from test_analysis import Builder, full
from test_frames import unpacked

from analysis.__main__ import main

SECTIONS = ["Objective", "Setup", "Results", "Observations", "Comparison to reference", "Implications", "Decisions"]


def log(folder, capsys) -> str:
    assert main(["log", str(folder)]) == 0
    return capsys.readouterr().out


def sections(text: str) -> dict[str, str]:
    parts = text.split("\n## ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def test_a_finished_study(tmp_path, capsys):
    study = full(tmp_path / "demo")
    path = study.folder / "runs" / "s0-lambda0-1" / "records.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1]["gate"] |= {"reasons": ["ok   linacc: 50, must be >= 5", "FAIL rank of z: 1.7, must be >= 4"]}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = sections(log(study.folder, capsys))
    assert list(found) == SECTIONS
    assert "coding rate, stopgrad: best/stopgrad minus best/stopgrad/lambda0" in found["Objective"]
    assert "64.0 ± 5.0" in found["Results"] and "+13.0 \\[+10.5, +15.5\\]" in found["Results"]
    assert "| stopgrad λ=0 | 1 | g | failed | 50 | 1.7 FAIL |" in found["Results"]
    # z_agg 62, 64, 66 above 40 of one view and 60 of the mean, the same in every run
    assert (
        "### demo: leakage gaps, linear accuracy" in found["Results"]
        and "| stopgrad λ=0.1 (best) | 40.0 | +24.0 ± 5.0 | +20.0 ± 0.0 | 3 |" in found["Results"]
    )
    assert "1. " in found["Observations"] and "So this repairs collapse here" in found["Observations"]
    assert found["Decisions"].count("- [ ]") == 4 and "[x]" not in found["Decisions"]
    assert "coding rate, stopgrad: better (n=3" in found["Decisions"] and "Read the test split" in found["Decisions"]
    assert "whoever decides" in found["Implications"]
    assert "As its last session" not in found["Setup"]
    command = "python studies/demo.py --quick --seeds 1,2,3"
    study.decide({"event": "begin", "t": 0.0, "cores": 2, "concurrent": 2, "workers": 1, "gpus": 0, "cpus": 1,
                  "usd_per_hour": 0, "command": command})  # fmt: skip
    assert f"```bash\n{command}\n```" in sections(log(study.folder, capsys))["Setup"]


def test_reference_rows_of_the_same_data_set_stand_beside_with_their_caveats(tmp_path, capsys):
    study = full(tmp_path / "demo")
    for path in (study.folder / "runs").glob("*/records.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[0]["config"]["data"]["name"] = "cifar10"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = sections(log(study.folder, capsys))["Comparison to reference"]
    row = next(line for line in found.splitlines() if "| exp-b-tuned | 10 | online_linacc_test |" in line)
    assert "| 30 |" in row and "differs from exp-b-baseline-lite" in row and "in no test" in found
    assert "CIFAR-100" not in found and "verdict" not in found and "none_reported" not in found


def test_studies_without_much_on_record(tmp_path, capsys):
    empty = sections(log(Builder(tmp_path / "empty").folder, capsys))
    assert list(empty) == SECTIONS and "Nothing has been compared yet." in empty["Results"]
    assert "no gate was judged" in empty["Results"] and "- [ ]" in empty["Decisions"]
    old = sections(log(unpacked(tmp_path), capsys))
    assert list(old) == SECTIONS and "**preset**: digits" in old["Setup"] and "objective.teacher" in old["Setup"]
    assert "No reference row is about digits." in old["Comparison to reference"]
    half = Builder(tmp_path / "half", confirm=["stopgrad", "ema"])
    half.arm("s0", "lambda0", "stopgrad", 0.0, [None, None])
    half.arm("s1", "best", "stopgrad", 0.1, [None, "missing"], "s0")
    half.trial(0, "ema", 0.1, None, state="unfinished")
    text = log(half.folder, capsys)
    assert list(sections(text)) == SECTIONS and "nan" not in text.lower().replace("dominan", "")
    assert "no verdict: n&lt;3" in text and "not run. Run it" in text


def test_one_study_and_a_file(tmp_path, capsys):
    full(tmp_path / "all" / "one"), full(tmp_path / "all" / "two")
    note = tmp_path / "all" / "two" / "study.json"  # begun at another time, else it were a copy of the first
    note.write_text(json.dumps(json.loads(note.read_text()) | {"created": "2026-01-02T00:00:00+00:00"}))
    assert main(["log", str(tmp_path / "all")]) == 2
    assert "holds 2 studies; give the folder of one" in capsys.readouterr().err
    assert main(["log", str(tmp_path / "all" / "one"), "--out", str(tmp_path / "log.md")]) == 0
    assert (tmp_path / "log.md").read_text(encoding="utf-8").startswith("# Experiment: demo\n")


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "| x |", "[a](http://b)"])
def test_a_hostile_question_is_text(tmp_path, capsys, text):
    study = Builder(tmp_path / "demo", study=text, declared={"question": text, "contrasts": [], "columns": []})
    study.arm("s0", "grid_a", "a", 0.0, [50.0, 51.0, 52.0], label=text)
    shown = log(study.folder, capsys)
    assert "<script>" not in shown and "](http" not in shown.replace("\\]", "")
