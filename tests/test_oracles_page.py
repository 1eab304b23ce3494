"""The page of comparisons with reference implementations has all of them and nothing else."""

import ast
import json
from pathlib import Path

import numpy as np
import oracles
import pytest
from oracles.page import NOT_COMPARED, RECORD, rows

TESTS = Path(__file__).resolve().parent


def marked(file):
    """Tests of a file that are marked as comparing with a reference."""
    if "mark.oracle" not in (text := file.read_text(encoding="utf-8")):
        return []
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return [f"{file.name}::{one.name}" for one in functions
            if any("mark.oracle" in ast.unparse(decorator) for decorator in one.decorator_list)]  # fmt: skip


def test_the_page_has_the_tests_that_there_are():
    found = {name for file in TESTS.glob("test_*.py") if file != Path(__file__) for name in marked(file)}
    assert found == {row.test for row in rows()}


def test_every_stored_piece_is_compared_or_says_why_not():
    stored = {"cmc_imagenet100"}
    for file in oracles.HERE.glob("*.npz"):
        with np.load(file, allow_pickle=False) as arrays:
            stored |= {f"{file.stem}/{case}" for case in json.loads(str(arrays["meta"]))["cases"]}
            # masks and draws have arrays and no settings
            stored |= {f"{file.stem}/{key.split('/')[0]}" for key in arrays.files if key != "meta"}
    compared = {row.piece for row in rows()}
    assert not compared & NOT_COMPARED.keys()
    assert compared | NOT_COMPARED.keys() == stored
    pages = "".join(page.read_text(encoding="utf-8") for page in oracles.HERE.glob("*.md"))
    assert not [file.name for file in oracles.HERE.glob("*.npz") if f"`{file.name}`" not in pages]


def test_a_comparison_that_the_page_does_not_have_fails(monkeypatch, tmp_path):
    x = np.ones(3)
    with pytest.raises(AssertionError, match="measured.md does not have .*crate/mssa.*make oracles"):
        oracles.equals_oracle("crate/mssa", x, x)
    with pytest.raises(AssertionError, match="crate/mssa, values: off by 1.0e-09, not within 1e-10"):
        oracles.equals_oracle("crate/mssa", x + 1e-9, x)
    monkeypatch.setenv(RECORD, str(tmp_path / "found.jsonl"))
    oracles.equals_oracle("crate/mssa", x + 5e-11, x)
    assert json.loads((tmp_path / "found.jsonl").read_text())[:5] == ["crate/mssa", "values", "fp64", "1e-10", "5e-11"]
