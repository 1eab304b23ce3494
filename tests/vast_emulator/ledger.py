"""Who rented what for how long, and who ended it: what every test about money asks at its end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Rental:
    """One instance from its rent request to its deletion; ``state`` is what the service would say."""

    id: int
    offer: dict[str, Any]
    body: dict[str, Any]
    key: str
    began: float = field(default_factory=time.time)
    ended: float | None = None
    ended_by: str | None = None
    state: str | None = "created"
    container: Any = None
    ssh_keys: list[str] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return self.ended is None

    def cost(self) -> float:
        """USD so far."""
        return (((self.ended or time.time()) - self.began) / 3600) * self.offer["dph_total"]


class Ledger:
    def __init__(self) -> None:
        self.rentals: dict[int, Rental] = {}

    def live(self) -> list[Rental]:
        return [rental for rental in self.rentals.values() if rental.live]

    def cost(self) -> float:
        return sum(rental.cost() for rental in self.rentals.values())

    def ended_by(self) -> list[str | None]:
        return [rental.ended_by for rental in self.rentals.values()]

    def most_at_once(self) -> int:
        """The largest number of rentals that lived at one moment."""
        moments = sorted(
            [(r.began, 1) for r in self.rentals.values()] + [(r.ended, -1) for r in self.rentals.values() if r.ended]
        )
        now = most = 0
        for _, change in moments:
            now += change
            most = max(most, now)
        return most

    def wait_empty(self, seconds: float) -> float | None:
        """Seconds until nothing lived, or None if something still does."""
        began = time.time()
        while time.time() - began < seconds:
            if not self.live():
                return time.time() - began
            time.sleep(0.1)
        return None
