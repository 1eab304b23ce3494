"""``make cluster-faults``: every scenario, and a table of what became of it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from interruptible import interruptible

from vast_emulator.container import possible
from vast_emulator.scenarios import SCENARIOS, Scenario, play

AT_ONCE = 3
"""They mostly wait."""


def main(words: list[str]) -> int:
    """Play the scenarios whose name holds one of ``words`` (none: all); returns 1 if a promise was broken."""
    if why := possible():
        print(f"error: {why}", file=sys.stderr)
        return 2
    interruptible()
    broken = 0
    print(f"{'scenario':<52} {'bound s':>7} {'empty after':>11} {'rentals':>7} {'took s':>6}", flush=True)
    chosen = [s for s in SCENARIOS if not words or any(word in s.name for word in words)]
    for scenario, result, kept in played(chosen):
        broken += not kept
        print(f"{scenario.name:<52} {scenario.within:>7g} {result}", flush=True)
    print(f"{broken} broken" if broken else "nothing was left billing, and nothing was rented twice")
    return int(bool(broken))


def played(scenarios: Iterable[Scenario]) -> Iterator[tuple[Scenario, str, bool]]:
    """Each scenario with the rest of its line, and whether its promise was kept; in their order, some at once."""
    scenarios = list(scenarios)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from ((s, *result) for s, result in zip(scenarios, pool.map(_line, scenarios), strict=True))


def _line(scenario: Scenario) -> tuple[str, bool]:
    folder = Path(tempfile.mkdtemp(prefix="v", dir="/tmp"))
    began = time.time()
    try:
        empty, rentals = play(scenario, folder)
        return f"{empty:>11.1f} {rentals:>7} {time.time() - began:>6.0f}", True
    except AssertionError as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = " ".join(str(error).split())[-1500:] or where.line
        return f"BROKEN: {Path(where.filename).name}:{where.lineno}: {said}", False
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
