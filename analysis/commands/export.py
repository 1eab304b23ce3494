"""``python -m analysis export``: the tidy frames as files that any tool reads."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.command.cli import Parser

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "json", "parquet")
EXAMPLES = (
    "python -m analysis export results/step2_rate_digits --format parquet --out frames",
    "python -m analysis export results --format csv --out frames",
)
EXITS = {0: "written", 2: "wrong command, or a record that cannot be read"}


def main(argv: list[str]) -> int:
    """Exit code."""
    parser = Parser(
        prog="python -m analysis export",
        description=(
            "Write what is on record as six tidy tables: studies, runs, epochs, trials, arms, contrasts; and beside"
            " them columns.csv, which says what every column means. Parquet keeps the types; in CSV and JSON what is"
            " missing is empty or null, and nothing is rounded."
        ),
        examples=EXAMPLES,
        exits=EXITS,
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="STUDY",
        help="a study, results folder, run or import; or s3://bucket/..., or wandb:ENTITY/PROJECT",
    )
    parser.add_argument("--format", choices=FORMATS, default="csv", help="of the tables (default: csv)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; tables already there are replaced")
    options = parser.parse_args(argv)
    import analysis
    from trainer.record.run import write_atomically

    frames = analysis.load(*options.paths, strict=True)
    files = {f"{name}.{options.format}": encoded(frame, options.format) for name, frame in frames.items()}
    files["columns.csv"] = encoded(analysis.columns(), "csv")
    for name, content in files.items():
        write_atomically(options.out / name, content)
    rows = ", ".join(f"{len(frame)} {name}" for name, frame in frames.items())
    print(f"{options.out}: {rows}; columns.csv explains them")
    return 0


def encoded(frame: pd.DataFrame, form: str) -> bytes:
    """A frame in one of ``FORMATS``."""
    if form == "csv":
        return frame.to_csv(index=False).encode()
    if form == "parquet":
        return frame.to_parquet(index=False)
    rows = [{name: _plain(value) for name, value in row.items()} for row in frame.astype(object).to_dict("records")]
    return json.dumps(rows, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"


def _plain(value: Any) -> Any:
    """A cell as JSON has it: missing is null, a time ISO 8601, an infinity its name."""
    import pandas as pd

    if pd.isna(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value
