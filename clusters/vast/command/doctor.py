"""Checks before anything is spent, one line each."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from clusters.vast import cluster_file, rent
from clusters.vast.client import Client, account_key
from clusters.vast.command import shared
from clusters.vast.errors import VastError

PINS = Path(__file__).resolve().parents[3] / "constraints.txt"


def main(argv: list[str]) -> int:
    p = shared.parser(
        "doctor",
        "What would stop a study on a rented machine: one line per check, exit code 1 if any is FAIL. Nothing "
        "is rented.",
    )
    shared.add_file(p)
    shared.add_json(p)
    o = p.parse_args(argv)
    rows = []
    for level, what, value in _checks(o.config):
        rows.append({"level": level, "check": what, "found": value})
        if not o.json:
            print(f"{level:<5} {what:<8} {' '.join(value.split())}", flush=True)
    wrong = sum(row["level"] == "FAIL" for row in rows)
    if o.json:
        shared.show(rows, True, "")
    else:
        print(f"\n{f'to fix: {wrong}' if wrong else 'ready to run: ray up ' + str(o.config)}")
    return int(bool(wrong))


def _checks(config: Path) -> Iterator[tuple[str, str, str]]:
    for name in ("ssh", "ssh-keygen", "rsync"):
        found = shutil.which(name)
        yield (
            ("ok", name, found)
            if found
            else ("FAIL", name, "not installed; on Debian: apt-get install openssh-client rsync")
        )
    yield _ray()
    try:
        file = cluster_file.load(config)
        yield "ok", "file", f"{config}: at most {file.limits.max_usd:g} USD and {file.limits.max_hours:g} h a machine"
        yield "ok", "script", f"{len(rent.on_start())} of {rent.LONGEST_ON_START} characters"
    except VastError as error:
        file = None
        yield "FAIL", "file", str(error)
    try:
        client = Client(account_key())
        credit = float(client.account().get("credit") or 0)
    except VastError as error:
        yield "FAIL", "key", str(error)
        return
    yield "ok", "key", "accepted"
    enough = file is None or credit >= file.limits.max_usd
    yield (
        ("ok" if enough else "FAIL" if credit <= 0 else "warn"),
        "credit",
        f"{credit:.2f} USD{'' if enough else '; less than max_usd, the machine stops when it is spent'}",
    )
    try:
        mine, others = shared.ours(client)
    except VastError as error:
        yield "FAIL", "list", str(error)
        return
    yield (
        ("warn" if mine else "ok"),
        "rented",
        f"{len(mine)} of this project, {others} others{'; see: python -m clusters.vast list' if mine else ''}",
    )


def _ray() -> tuple[str, str, str]:
    pinned = re.search(r"^ray==(\S+)", PINS.read_text(encoding="utf-8"), re.MULTILINE) if PINS.exists() else None
    here = metadata.version("ray")
    if pinned and pinned[1] != here:
        return (
            "FAIL",
            "ray",
            f"{here} here, {pinned[1]} on the machine (constraints.txt): they must be the same; pip install -c "
            "constraints.txt -e .",
        )
    return "ok", "ray", here
