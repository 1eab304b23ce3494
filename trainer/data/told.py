"""Saying how far a long preparation is, so that nobody takes it for a hang."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
EVERY_SECONDS = 10.0


def told(items: Iterable[Item], total: int, what: str, done: int = 0, step: int = 1) -> Iterator[Item]:
    """The items, with a line on stderr every EVERY_SECONDS: ``what: 12,800 of 113,000``.

    Args:
        done: how many there were before the first item; step: how many an item stands for.
    """
    spoke = time.monotonic()
    for item in items:
        yield item
        done = min(total, done + step)
        if time.monotonic() - spoke > EVERY_SECONDS:
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)
            spoke = time.monotonic()
