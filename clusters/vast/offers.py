"""One search of the market, ranked: the preferred card first, then by what an hour really costs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from clusters.vast.limits import Card, Limits


@dataclass(frozen=True)
class Offer:
    """Attributes: ``usd_per_hour`` as billed (GPUs and storage); ``usd`` for all hours with the expected
    traffic, ``traffic_usd``; ``bid``: USD per hour offered for the GPUs of an interruptible machine, else None."""

    id: int
    machine: int | None
    card: str
    count: int
    usd_per_hour: float
    usd: float
    traffic_usd: float
    reliability: float
    place: str
    bid: float | None = None


def query(limits: Limits, disk_gb: int) -> dict[str, Any]:
    """The search, in the service's own words; daily searches are few, so it is one for all cards."""
    return {
        "verified": {"eq": True},
        "external": {"eq": False},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "gpu_name": {"in": sorted({card.name for card in limits.gpus})},
        "num_gpus": {"in": sorted({card.count for card in limits.gpus})},
        ("min_bid" if limits.interruptible else "dph_total"): {
            "lte": max(card.max_usd_per_hour for card in limits.gpus)
        },
        "reliability": {"gte": limits.min_reliability},
        "cuda_max_good": {"gte": limits.min_cuda},
        "inet_down": {"gte": limits.min_download_mbps},
        "disk_space": {"gte": disk_gb},
        "duration": {"gte": limits.max_hours * 3600},
        "direct_port_count": {"gte": 1},
        **({"cluster_id": {"eq": limits.physical_cluster}} if limits.overlay else {}),
        "order": [["min_bid" if limits.interruptible else "dph_total", "asc"]],
        "type": "bid" if limits.interruptible else "on-demand",
        "limit": 64,
        "allocated_storage": disk_gb,
    }


def ranked(rows: list[dict[str, Any]], limits: Limits, bad: Collection[int] = ()) -> list[Offer]:
    """Offers within the limits, best first; machines in ``bad`` have failed before and are left out."""
    found = []
    for row in rows:
        bid = round(float(row.get("min_bid") or 0) * limits.bid_over_min, 4) if limits.interruptible else None
        price = float(row.get("dph_total") or 0) if bid is None else bid + float(row.get("storage_total_cost") or 0)
        place = next((i for i, card in enumerate(limits.gpus) if bid != 0 and _fits(row, card, price)), None)
        if place is None or row.get("machine_id") in bad:
            continue
        traffic = (
            float(row.get("inet_down_cost") or 0) * limits.download_gb
            + float(row.get("inet_up_cost") or 0) * limits.upload_gb
        )
        hours = min(limits.max_hours, limits.max_usd / price)
        offer = Offer(
            row["id"], row.get("machine_id"), row["gpu_name"], int(row["num_gpus"]), price, price * hours + traffic,
            traffic, float(row.get("reliability") or 0), str(row.get("geolocation") or "?"), bid,
        )  # fmt: skip
        found.append((place, offer.usd / hours, offer.id, offer))
    return [offer for *_, offer in sorted(found)]


def _fits(row: dict[str, Any], card: Card, price: float) -> bool:
    return row.get("gpu_name") == card.name and row.get("num_gpus") == card.count and 0 < price <= card.max_usd_per_hour
