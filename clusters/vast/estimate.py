"""What a study would take and cost on a rented card, before it is rented.

A plan says how many epochs there are and what one computes. Seconds an epoch come from an earlier study of the same
work on the same card if this computer has seen one, else from the card's speed below.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from clusters.vast.memory import Memory
from clusters.vast.offers import Offer

SPEEDS = {
    "RTX 4090": {"bf16": 22e12, "fp32": 12e12, "tf32": 12e12},
    "RTX 3090": {"bf16": 12e12, "fp32": 7e12, "tf32": 7e12},
}
"""Multiply-adds a second of ResNet-18 on 32 x 32. Not measured on these cards: the kernel times of one H200 (26 ms a
step: 12.5 ms convolutions, the rest waits for memory), scaled by the published tensor and memory rates."""

STEP_SECONDS = 0.014
"""No step takes less: a small network's kernels are shorter than their launches (H200 and its 16 cores, digits)."""

SETUP_HOURS = 0.2
"""Image, wheels (6 GB) and data set at the least download rate that is rented."""

_LINE = re.compile(
    r"^work +an epoch is (?P<steps>\d+) steps and (?P<macs>[\d.e+]+) multiply-adds in (?P<precision>\w+); "
    r"(?P<expected>\d+) expected, (?P<most>\d+) at most$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Work:
    """An epoch's ``steps`` and ``macs`` (multiply-adds), and how many epochs a study trains."""

    steps: int
    macs: float
    precision: str
    expected: int
    most: int

    def key(self, card: str, count: int) -> str:
        """Of what was measured: the same work on the same machine, nothing else."""
        return f"{count} x {card}, {self.steps} steps, {self.macs:.3g} multiply-adds, {self.precision}"


@dataclass(frozen=True)
class Estimate:
    """Hours and USD, with setup and traffic; ``most`` without early stopping. ``source`` says how it is known."""

    hours: float
    usd: float
    most_hours: float
    most_usd: float
    source: str


def work_of(plan: str) -> Work | None:
    """From what ``--dry-run`` prints; None if the plan does not count its arithmetic."""
    found = _LINE.search(plan)
    if found is None:
        return None
    numbers = {name: int(found[name]) for name in ("steps", "expected", "most")}
    return Work(macs=float(found["macs"]), precision=found["precision"], **numbers)


def estimate(work: Work, offer: Offer, memory: Memory) -> Estimate | None:
    """None if nothing is known of the card."""
    seconds = memory.epoch_seconds(work.key(offer.card, offer.count))
    source = "measured in an earlier study on this card"
    if seconds is None:
        speed = SPEEDS.get(offer.card, {}).get(work.precision)
        if speed is None:
            return None
        # trials run side by side, on as many cards as there are
        seconds = max(work.macs / speed, work.steps * STEP_SECONDS) / offer.count
        source = "from the encoder's arithmetic and the card's published rates, within a factor of about 2"
    hours, most = (SETUP_HOURS + seconds * epochs / 3600 for epochs in (work.expected, work.most))
    price, traffic = offer.usd_per_hour, offer.traffic_usd
    return Estimate(hours, hours * price + traffic, most, most * price + traffic, source)
