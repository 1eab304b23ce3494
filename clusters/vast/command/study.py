"""One command for the whole trip: rent, run, follow, bring home, give back. Each step is a Ray command, and is printed.

The study runs in tmux on the machine: closing this command, or losing this computer, does not stop it. The same command
again follows it; the machine deletes itself when the study has ended and nobody came.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clusters.vast import cluster_file, memory
from clusters.vast import limits as caps
from clusters.vast.client import Client
from clusters.vast.cluster_file import ClusterFile
from clusters.vast.command import reap, shared
from clusters.vast.errors import NoOffer, VastError
from clusters.vast.instance import Instance
from clusters.vast.memory import Memory
from clusters.vast.offers import query, ranked
from clusters.vast.rent import ssh

LOST = 4
"""Exit code as of a lost Ray cluster: the machine is gone before its study ended, --resume continues."""

ROOT = Path(__file__).resolve().parents[3]
TMUX = "TMUX_TMPDIR=~/.study tmux"
END_OF_LOG = "\x01"
SILENT_POLLS = 10


@dataclass(frozen=True)
class Trip:
    """Attributes: ``words`` of the study's own command line; ``folder`` of its results, relative to the project."""

    file: ClusterFile
    words: list[str]
    folder: Path
    poll_seconds: float


def main(argv: list[str]) -> int:
    p = shared.parser(
        "study",
        "Rent a machine, run a study on it, bring its records home as they appear, and give it back. Options of "
        "the study stay as they are.",
        "studies/step2_rate.py --preset cifar100_aug_gate --max-usd 20",
        "studies/step2_rate.py --preset cifar100_aug_gate --resume      # after anything went wrong",
    )
    shared.add_file(p)
    p.add_argument("script", help="a file of studies/; what follows and is not listed here is given to it")
    p.add_argument("--max-usd", type=float, help="of the machine (default: the file's max_usd)")
    p.add_argument("--max-hours", type=float, help="of the machine (default: the file's max_hours)")
    p.add_argument(
        "--keep", action="store_true", help="leave the machine at the end; it deletes itself after idle_minutes"
    )
    p.add_argument("--yes", action="store_true", help="do not ask before money is spent")
    p.add_argument("--poll-seconds", type=float, default=20.0, help="between two looks at the machine (default: 20)")
    o, words = p.parse_known_args(argv)
    trip = _trip(o, words)
    client = shared.account()
    found = _machine(client, trip)
    if found is None and not _agreed(client, trip, o.yes):
        print("nothing was rented")
        return 0
    try:
        return _travel(client, trip, found, o.keep)
    except KeyboardInterrupt:
        print(_way_back(trip))
        raise


def _trip(o: argparse.Namespace, words: list[str]) -> Trip:
    """Raises VastError or UsageError for everything that can be known before renting."""
    script = Path(o.script)
    if not (ROOT / script).is_file() or script.is_absolute() or script.parts[0] != "studies":
        raise VastError(f"{o.script}: give a file of the project's studies/, such as studies/step2_rate.py")
    taken = [w for w in words if w.partition("=")[0] in ("--address", "--results-dir", "--usd-per-hour", "--dry-run")]
    if taken:
        raise VastError(
            f"{taken[0]}: this command sets it; for a plan without a machine run: python {o.script} ... --dry-run"
        )
    if not 0.1 <= o.poll_seconds <= 600:
        raise VastError(f"--poll-seconds {o.poll_seconds:g}: must be 0.1 to 600")
    file = _limited(cluster_file.load(o.config), o.max_usd, o.max_hours)
    planned = subprocess.run(
        [sys.executable, str(ROOT / script), *words, "--dry-run"], cwd=ROOT, capture_output=True, text=True
    )
    if planned.returncode:
        raise VastError(
            planned.stderr.strip().removeprefix("error: ") or f"{script} --dry-run ended with {planned.returncode}"
        )
    print(planned.stdout.rstrip())
    line = next(line for line in planned.stdout.splitlines() if line.startswith("results "))
    folder = Path(line.removeprefix("results ").strip()).relative_to(ROOT)
    return Trip(file, [str(script), *words], folder, o.poll_seconds)


def _limited(file: ClusterFile, max_usd: float | None, max_hours: float | None) -> ClusterFile:
    """With other limits than the file's: a file of its own, so that every Ray command can be repeated by hand."""
    changed: dict[str, Any] = {k: v for k, v in (("max_usd", max_usd), ("max_hours", max_hours)) if v is not None}
    if not changed:
        return file
    provider = {**file.raw["provider"], **changed}
    caps.read(provider)
    place = memory.place().parent / f"{file.path.stem}-{file.name}.yaml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(yaml.safe_dump({**file.raw, "provider": provider}, sort_keys=False), encoding="utf-8")
    return cluster_file.load(place)


def _machine(client: Client, trip: Trip) -> Instance | None:
    mine, _ = shared.ours(client)
    return next((i for i in mine if i.cluster == trip.file.name and not i.dead), None)


def _agreed(client: Client, trip: Trip, yes: bool) -> bool:
    limits = trip.file.limits
    offers = ranked(client.offers(query(limits, trip.file.disk_gb)), limits, Memory().bad_machines())
    if not offers:
        raise NoOffer("no offer within the limits; see: python -m clusters.vast offers")
    best = offers[0]
    lives, money = caps.seconds(limits, best.usd_per_hour)
    hours = min(lives, money) / 3600
    print(
        f"machine    {best.count} x {best.card} ({best.place}) for {best.usd_per_hour:.3f} USD/h; at most "
        f"{hours:.1f} h and {hours * best.usd_per_hour:.2f} USD, then it deletes itself"
    )
    return shared.confirmed("rent it?", yes)


def _travel(client: Client, trip: Trip, found: Instance | None, keep: bool) -> int:
    config = str(trip.file.path)
    if found is None or not _begun(trip, found):
        _ray("up", "-y", config)
        found = _machine(client, trip)
        if found is None:
            raise VastError("ray up ended well, and the machine is gone; see: python -m clusters.vast list")
        _start(trip, found)
    assert found is not None
    code = _follow(client, trip, found)
    if code is None:
        return _lost(client, trip, found)
    if keep:
        print(_way_back(trip))
        return code
    _ray("down", "-y", config)
    return max(code, 1) if found.id in reap.remaining(client, {found.id}) else code


def _begun(trip: Trip, found: Instance) -> bool:
    """Whether this study was started there, and runs or has ended. Raises VastError if another one runs."""
    same = _asks(trip, found, f'test "$(cat ~/study.words)" = {shlex.quote(shlex.join(trip.words))}') == 0
    runs = _asks(trip, found, f"{TMUX} has-session -t study") == 0
    if runs and not same:
        raise VastError(
            f"another study runs on instance {found.id}; wait for it, or end it: ray down -y {trip.file.path}"
        )
    return runs or (same and _asks(trip, found, "test -f ~/study.exit") == 0)


def _lost(client: Client, trip: Trip, found: Instance) -> int:
    print(f"the machine was lost before the study ended; its records up to the last look are in {trip.folder}")
    print("the same command with --resume continues on another one")
    mine, _ = shared.ours(client)
    if any(i.id == found.id and i.dead for i in mine):
        client.destroy(found.id)  # its disk is billed, and it does not come back
    if reap.remaining(client, set()):
        print("what is left deletes itself at its limits; end it now: python -m clusters.vast reap --all")
    return LOST


def _start(trip: Trip, found: Instance) -> None:
    here = ROOT / trip.folder
    if "--resume" in trip.words and here.is_dir():
        _run(
            [
                "rsync",
                "-az",
                "--mkpath",
                "-e",
                _shell(trip, found),
                f"{here}/",
                f"root@{found.host}:study/{trip.folder}/",
            ]
        )
    command = f"python {shlex.join(trip.words)} --address auto --usd-per-hour $STUDY_USD_PER_HOUR"
    inner = f"source ~/.bashrc; cd ~/study && {command} > ~/study.log 2>&1; echo $? > ~/study.exit"
    print(f"$ ray exec --tmux {trip.file.path} {shlex.quote(f'cd ~/study && {command}')}")
    words = shlex.quote(shlex.join(trip.words))
    prepared = f"rm -f ~/study.log ~/study.exit; echo {words} > ~/study.words; mkdir -p ~/study/{trip.folder}"
    shell = f"bash --login -i -c {shlex.quote(inner)}"
    there = f"{prepared}; {TMUX} new-session -d -s study {shlex.quote(shell)}"
    if _asks(trip, found, there):
        raise VastError(f"the study could not be started; log in with: python -m clusters.vast ssh {found.id}")


def _follow(client: Client, trip: Trip, found: Instance) -> int | None:
    """The study's exit code, or None if the machine went away."""
    print(f"$ ray rsync-down {trip.file.path} '~/study/{trip.folder}/' {trip.folder}/")
    shown = silent = unfetched = 0
    while True:
        words = (
            f"tail -c +{shown + 1} ~/study.log 2>/dev/null; printf '{END_OF_LOG}'; cat ~/study.exit 2>/dev/null; true"
        )
        done = subprocess.run(ssh(found, trip.file.private_key, [words]), stdin=subprocess.DEVNULL, capture_output=True)
        text, end, code = done.stdout.rpartition(END_OF_LOG.encode())
        if end:
            silent = 0
            shown += len(text)
            sys.stdout.write(text.decode(errors="replace"))
            sys.stdout.flush()
            fetched = _fetch(trip, found)
            unfetched = 0 if fetched else unfetched + 1
            if unfetched > SILENT_POLLS:
                raise VastError(
                    f"the records cannot be fetched to {trip.folder}; the machine is left as it is: fetch them "
                    "with ray rsync-down, then ray down"
                )
            if code.strip() and fetched:
                return int(code)
        else:
            silent += 1
            now = _machine(client, trip)
            if now is None or now.id != found.id or silent > SILENT_POLLS:
                return None
        time.sleep(trip.poll_seconds)


def _fetch(trip: Trip, found: Instance) -> bool:
    """Whether everything of the study that is there is now here."""
    here = ROOT / trip.folder
    here.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["rsync", "-az", "-e", _shell(trip, found), f"root@{found.host}:study/{trip.folder}/", f"{here}/"],
        capture_output=True,
    )
    return done.returncode == 0


def _asks(trip: Trip, found: Instance, words: str) -> int:
    return subprocess.run(
        ssh(found, trip.file.private_key, [words]), stdin=subprocess.DEVNULL, capture_output=True
    ).returncode


def _shell(trip: Trip, found: Instance) -> str:
    return shlex.join(ssh(found, trip.file.private_key)[:-1])


def _ray(command: str, *words: str) -> None:
    _run(["ray", command, *words], env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"})


def _run(words: list[str], **settings: Any) -> None:
    print(f"$ {shlex.join(words)}", flush=True)
    code = subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, **settings).returncode
    if code:
        raise VastError(
            f"{words[0]} {words[1]} ended with {code}; what is rented now: python -m clusters.vast list; end "
            "it: python -m clusters.vast reap --all"
        )


def _way_back(trip: Trip) -> str:
    config, limits = trip.file.path, trip.file.limits
    return (
        f"\nThe machine goes on, and deletes itself {limits.idle_minutes:g} minutes after the study, or at "
        f"{limits.max_usd:g} USD.\n"
        f"  follow it again   the same command\n"
        f"  fetch records     ray rsync-down {config} '~/study/{trip.folder}/' {trip.folder}/\n"
        f"  end it now        ray down -y {config} && python -m clusters.vast reap"
    )
