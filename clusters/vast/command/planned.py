"""What a study would do, from its own ``--dry-run``."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from clusters.vast.errors import VastError
from clusters.vast.estimate import Work, work_of

ROOT = Path(__file__).resolve().parents[3]
DATA = "~/study/data"
"""Where the study looks for images on the machine, which has none: a computer's own data folder is not sent."""

CORE_HOUR = 1e14
"""Multiply-adds that a core of a server does in about an hour (27 G a second, ResNet-18 on 32 x 32 in fp32)."""

_ABSENT = re.compile(r"^data +absent, the study would not start: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Planned:
    """Attributes: ``added``: words for the study beside those given; ``folder`` of the results, relative to the
    project; ``work``: None if it is not counted."""

    added: list[str]
    text: str
    folder: Path
    work: Work | None


def planned(name: str, words: list[str]) -> Planned:
    """What a study would do there. Without being asked for, images that can be fetched are (``--download``), and a
    study of more than an hour of one core gets a GPU for each trial, as trials use none by themselves.

    Raises:
        VastError: what the study says against its options; or the machine would lack images that nobody can fetch.
    """
    script = Path(name)
    if not (ROOT / script).is_file() or script.is_absolute() or script.parts[0] != "studies":
        raise VastError(f"{name}: give a file of the project's studies/, such as studies/step2_rate.py")
    given = [w.partition("=")[0] for w in words]
    if taken := next((w for w in given if w in ("--address", "--results-dir", "--usd-per-hour", "--dry-run")), None):
        raise VastError(f"{taken}: this command sets it; for a plan without a machine run: python {name} ... --dry-run")
    # a folder that the cluster's file mounts: this computer cannot look into it
    where = [] if "--data-root" in given else ["--data-root", DATA]
    said, added = _said(script, [*words, *where]), []
    if where and _ABSENT.search(said) and "--download" not in given:
        added.append("--download")
    work = work_of(said)
    if work and work.macs * work.expected > CORE_HOUR and not {"--gpus-per-trial", "runtime.device"} & {*given}:
        added += ["--gpus-per-trial", "1"]
    if added:
        said = _said(script, [*words, *added, *where])
    if where and (missing := _ABSENT.search(said)):
        raise VastError(f"on the machine: {missing[1]} that file_mounts of --config puts there")
    line = next(line for line in said.splitlines() if line.startswith("results "))
    folder = Path(line.removeprefix("results ").strip()).relative_to(ROOT)
    return Planned(added, said.rstrip(), folder, work_of(said))


def _said(script: Path, words: list[str]) -> str:
    # for a cluster, as it is run: what one trial takes is not asked of this computer
    command = [sys.executable, str(ROOT / script), *words, "--address", "auto", "--dry-run"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise VastError(
            done.stderr.strip().removeprefix("error: ") or f"{script} --dry-run ended with {done.returncode}"
        )
    return done.stdout
