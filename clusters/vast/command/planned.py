"""What a study would do, from its own ``--dry-run``."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from clusters.vast.errors import VastError
from clusters.vast.estimate import Work, work_of

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Planned:
    """Attributes: ``folder`` of the results, relative to the project; ``work``: None if it is not counted."""

    text: str
    folder: Path
    work: Work | None


def planned(name: str, words: list[str]) -> Planned:
    """Raises VastError with what the study says against its options."""
    script = Path(name)
    if not (ROOT / script).is_file() or script.is_absolute() or script.parts[0] != "studies":
        raise VastError(f"{name}: give a file of the project's studies/, such as studies/step2_rate.py")
    taken = [w for w in words if w.partition("=")[0] in ("--address", "--results-dir", "--usd-per-hour", "--dry-run")]
    if taken:
        raise VastError(
            f"{taken[0]}: this command sets it; for a plan without a machine run: python {name} ... --dry-run"
        )
    # for a cluster, as it is run: what one trial takes is not asked of this computer
    command = [sys.executable, str(ROOT / script), *words, "--address", "auto", "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise VastError(
            done.stderr.strip().removeprefix("error: ") or f"{script} --dry-run ended with {done.returncode}"
        )
    line = next(line for line in done.stdout.splitlines() if line.startswith("results "))
    folder = Path(line.removeprefix("results ").strip()).relative_to(ROOT)
    return Planned(done.stdout.rstrip(), folder, work_of(done.stdout))
