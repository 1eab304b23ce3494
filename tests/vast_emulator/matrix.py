"""``make cluster-faults``: every scenario, and a table of what became of it."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from vast_emulator.container import possible
from vast_emulator.scenarios import SCENARIOS, play


def main(words: list[str]) -> int:
    """Play the scenarios whose name holds one of ``words`` (none: all); returns 1 if a promise was broken."""
    if why := possible():
        print(f"error: {why}", file=sys.stderr)
        return 2
    broken = 0
    print(f"{'scenario':<52} {'bound s':>7} {'empty after':>11} {'rentals':>7} {'took s':>6}")
    for scenario in SCENARIOS:
        if words and not any(word in scenario.name for word in words):
            continue
        folder = Path(tempfile.mkdtemp(prefix="v", dir="/tmp"))
        began = time.time()
        try:
            empty, rentals = play(scenario, folder)
            result = f"{empty:>11.1f} {rentals:>7} {time.time() - began:>6.0f}"
        except AssertionError as error:
            broken += 1
            result = f"BROKEN: {' '.join(str(error).split())[-600:]}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        print(f"{scenario.name:<52} {scenario.within:>7g} {result}", flush=True)
    print(f"{broken} broken" if broken else "nothing was left billing, and nothing was rented twice")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
