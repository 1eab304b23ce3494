"""What the commands have in common: the account, this project's instances, tables, and the question before money."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clusters.vast import cluster_file
from clusters.vast import instance as instances
from clusters.vast.client import Client, account_key
from clusters.vast.errors import VastError
from clusters.vast.instance import Instance
from trainer.command.cli import Parser


def parser(name: str, about: str, *examples: str) -> Parser:
    prog = f"python -m clusters.vast {name}"
    found = examples if name == "study" else ("", *examples)  # a study needs its file
    return Parser(prog=prog, description=about, examples=[f"{prog}{' ' + e if e else ''}" for e in found])


def add_file(p: Parser) -> None:
    p.add_argument(
        "--config", type=Path, default=cluster_file.DEFAULT, help="the cluster's file (default: clusters/vast.yaml)"
    )


def add_json(p: Parser) -> None:
    p.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def account() -> Client:
    return Client(account_key())


def ours(client: Client) -> tuple[list[Instance], int]:
    """This project's instances, of every cluster, and how many others the account has."""
    found = [instances.read(row) for row in client.instances()]
    mine = [i for i in found if i.cluster]
    return mine, len(found) - len(mine)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Plain columns; numbers to the right."""
    names = list(rows[0])
    cells = [[_cell(row[name]) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    number = [all(isinstance(row[name], (int, float)) or row[name] is None for row in rows) for name in names]
    lines = [names, *cells]
    return "\n".join(
        "  ".join(
            cell.rjust(w) if n else cell.ljust(w) for cell, w, n in zip(line, widths, number, strict=True)
        ).rstrip()
        for line in lines
    )


def show(rows: list[dict[str, Any]], as_json: bool, empty: str) -> None:
    if as_json:
        # sums of prices: binary dust behind the millionths
        plain = [{name: round(v, 6) if isinstance(v, float) else v for name, v in row.items()} for row in rows]
        print(json.dumps(plain, indent=1))
    else:
        print(table(rows) if rows else empty)


def confirmed(question: str, yes: bool) -> bool:
    """Raises VastError if nobody can answer."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise VastError(f"{question} Nobody can answer here; add --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
