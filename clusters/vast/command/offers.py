"""The market within a cluster's limits, in the order in which it would be rented."""

from __future__ import annotations

from clusters.vast import cluster_file
from clusters.vast.command import shared
from clusters.vast.memory import Memory
from clusters.vast.offers import query, ranked


def main(argv: list[str]) -> int:
    p = shared.parser(
        "offers", "What the market has within the limits of a cluster's file, best first. Nothing is rented.", "--json"
    )
    shared.add_file(p)
    shared.add_json(p)
    o = p.parse_args(argv)
    file = cluster_file.load(o.config)
    found = ranked(shared.account().offers(query(file.limits, file.disk_gb)), file.limits, Memory().bad_machines())
    rows = [
        {
            "offer": offer.id,
            "gpus": f"{offer.count} x {offer.card}",
            "usd_per_hour": offer.usd_per_hour,
            "usd_at_most": min(offer.usd, file.limits.max_usd),
            "reliability": offer.reliability,
            "place": offer.place,
        }
        for offer in found
    ]
    shared.show(
        rows,
        o.json,
        f"no offer within the limits of {o.config}: raise max_usd_per_hour, or add a card under provider.gpus",
    )
    return 0 if rows else 1
