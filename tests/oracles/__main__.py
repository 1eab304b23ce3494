"""``make oracles``: every comparison with a reference implementation; the table goes to measured.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from oracles.page import NOT_COMPARED, PAGE, RECORD, Row

TESTS = PAGE.parent.parent
HEADER = """# Ours against reference implementations

Written by `make oracles`, which runs the tests named here; where the pieces come from: [README](README.md).
Errors and tolerances without a unit are relative to the largest entry of the array (0.01 if all are smaller); the worst
of all arrays is shown. Gradients are those of inputs and weights. `samples`: frequencies and means of random draws, in
standard errors of the difference. Every comparison looks itself up here when it is tested: piece, precision, tolerance
and test are the code's.

| piece | compared | precision | tolerance | worst error | test |
|---|---|---|---|---|---|
"""
NOT_COMPARED_HEADER = """
Stored and not compared:

| piece | why |
|---|---|
"""


def main() -> int:
    files = [str(file) for file in sorted(TESTS.glob("test_*.py")) if "mark.oracle" in file.read_text("utf-8")]
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "comparisons.jsonl"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "oracle", *files],
            cwd=TESTS.parent,
            env={**os.environ, RECORD: str(record)},
        )
        if done.returncode:
            return done.returncode
        worst: dict[tuple[str, ...], Row] = {}
        for line in record.read_text("utf-8").splitlines():
            row = Row(*json.loads(line))
            worst[row.fixed] = max(worst.get(row.fixed, row), row, key=lambda one: float(one.worst.split()[0]))
    compared = "".join(f"| {' | '.join(worst[key])} |\n" for key in sorted(worst))
    others = "".join(f"| {piece} | {why} |\n" for piece, why in sorted(NOT_COMPARED.items()))
    PAGE.write_text(HEADER + compared + NOT_COMPARED_HEADER + others, encoding="utf-8")
    print(f"{len(worst)} comparisons: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
