"""The market within a cluster's limits, in the order in which it would be rented, and what a study would cost there."""

from __future__ import annotations

from clusters.vast import cluster_file
from clusters.vast.command import shared
from clusters.vast.command.planned import planned
from clusters.vast.estimate import Work, estimate
from clusters.vast.memory import Memory
from clusters.vast.offers import Offer, query, ranked


def main(argv: list[str]) -> int:
    p = shared.parser(
        "offers",
        "What the market has within the limits of a cluster's file, best first; with a study's own command line, what "
        "it would take and cost there. Nothing is rented.",
        "--json",
        "studies/step2_rate.py --preset cifar100_aug_gate",
    )
    shared.add_file(p)
    shared.add_json(p)
    p.add_argument("study", nargs="?", help="a file of studies/; what follows is given to it")
    o, words = p.parse_known_args(argv)
    if words and not o.study:
        p.parse_args(argv)  # says which option is unknown
    work = planned(o.study, words).work if o.study else None
    memory = Memory()
    file = cluster_file.load(o.config)
    found = ranked(shared.account().offers(query(file.limits, file.disk_gb)), file.limits, memory.bad_machines())
    rows = [
        {
            "offer": offer.id,
            "gpus": f"{offer.count} x {offer.card}",
            "usd_per_hour": offer.usd_per_hour,
            "usd_at_most": min(offer.usd, file.limits.max_usd),
            "reliability": offer.reliability,
            "place": offer.place,
            **(_of_study(work, offer, memory) if o.study else {}),
        }
        for offer in found
    ]
    shared.show(
        rows,
        o.json,
        f"no offer within the limits of {o.config}: raise max_usd_per_hour, or add a card under provider.gpus",
    )
    if rows and o.study and not o.json:
        print("\nstudy_hours and study_usd are estimates, with setup and traffic, within a factor of about 2")
    return 0 if rows else 1


def _of_study(work: Work | None, offer: Offer, memory: Memory) -> dict[str, float | None]:
    found = estimate(work, offer, memory) if work else None
    return {"study_hours": found.hours if found else None, "study_usd": found.usd if found else None}
