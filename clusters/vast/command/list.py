"""What is rented now."""

from __future__ import annotations

import time

from clusters.vast.command import shared
from clusters.vast.instance import Instance


def row(found: Instance, now: float) -> dict[str, object]:
    """One line about an instance; money in USD."""
    return {
        "instance": found.id,
        "cluster": found.cluster,
        "gpus": f"{found.count} x {found.card}",
        "status": found.status or "created",
        "hours": found.hours(now),
        "usd_per_hour": found.usd_per_hour,
        "usd_so_far": found.hours(now) * found.usd_per_hour,
    }


def main(argv: list[str]) -> int:
    p = shared.parser("list", "Every instance of this project on the account, whichever machine rented it.", "--json")
    shared.add_json(p)
    o = p.parse_args(argv)
    mine, others = shared.ours(shared.account())
    now = time.time()
    shared.show([row(i, now) for i in mine], o.json, "0 instances")
    if others and not o.json:
        print(f"{others} more on the account are not this project's")
    return 0
