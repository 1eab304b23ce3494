"""Money: so far, and at most."""

from __future__ import annotations

import time

from clusters.vast.command import shared
from clusters.vast.instance import SECONDS, Instance


def most(found: Instance) -> float:
    """USD at the instance's own time and money limits, whichever comes first."""
    seconds = [float(found.environment[name]) for name in (SECONDS, "STUDY_MONEY_SECONDS") if name in found.environment]
    return min(seconds, default=float("inf")) / 3600 * found.usd_per_hour


def main(argv: list[str]) -> int:
    p = shared.parser(
        "cost",
        "What this project's instances have cost so far, and can cost at most; traffic is billed beside it.",
        "--json",
    )
    shared.add_json(p)
    o = p.parse_args(argv)
    client = shared.account()
    mine, _ = shared.ours(client)
    now = time.time()
    rows = [
        {"instance": i.id, "cluster": i.cluster, "usd_so_far": i.hours(now) * i.usd_per_hour, "usd_at_most": most(i)}
        for i in mine
    ]
    shared.show(rows, o.json, "0 instances")
    if rows and not o.json:
        print(
            f"together {sum(i.hours(now) * i.usd_per_hour for i in mine):.2f} USD so far, at most "
            f"{sum(map(most, mine)):.2f} USD"
        )
    if not o.json:
        print(f"credit left: {float(client.account().get('credit') or 0):.2f} USD")
    return 0
