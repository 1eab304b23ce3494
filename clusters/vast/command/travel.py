"""A study on a machine: started in tmux, followed, its records brought home, the machine given back."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clusters.vast.client import Client
from clusters.vast.cluster_file import ClusterFile
from clusters.vast.command import reap, shared
from clusters.vast.command.planned import ROOT
from clusters.vast.errors import VastError
from clusters.vast.estimate import Work
from clusters.vast.instance import Instance
from clusters.vast.memory import Memory
from clusters.vast.rent import ssh

LOST = 4
"""Exit code as of a lost Ray cluster: the machine is gone before its study ended, --resume continues."""

TMUX = "TMUX_TMPDIR=~/.study tmux"
END_OF_LOG = "\x01"
SILENT_POLLS = 10
FEWEST_EPOCHS = 20


@dataclass(frozen=True)
class Trip:
    """Attributes:

    words: of the study's own command line.
    folder: of its results, relative to the project.
    bucket: options of ``python -m clusters.bucket run`` with the address first, or () without a bucket.
    secrets: variables that the uploading process gets there, and nothing else.
    work: what the study computes, if it is known.
    """

    file: ClusterFile
    words: list[str]
    folder: Path
    poll_seconds: float
    bucket: tuple[str, ...] = ()
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    work: Work | None = None


def machine(client: Client, trip: Trip) -> Instance | None:
    """The living one of the trip's cluster."""
    mine, _ = shared.ours(client)
    return next((i for i in mine if i.cluster == trip.file.name and not i.dead), None)


def travel(client: Client, trip: Trip, found: Instance | None, keep: bool, detach: bool) -> int:
    """From a machine, or none, to the study's exit code."""
    config = str(trip.file.path)
    if found is None or not _begun(trip, found):
        _ray("up", "-y", config)
        found = machine(client, trip)
        if found is None:
            raise VastError("ray up ended well, and the machine is gone; see: python -m clusters.vast list")
        before, began = _epochs(trip), time.monotonic()
        _start(trip, found)
    else:
        before = began = None
    assert found is not None
    if detach:
        print(way_back(trip))
        return 0
    code = _follow(client, trip, found)
    if code is None:
        return _lost(client, trip, found)
    if began is not None and before is not None:
        _remember(trip, found, _epochs(trip) - before, time.monotonic() - began)
    if keep:
        print(way_back(trip))
        return code
    _ray("down", "-y", config)
    return max(code, 1) if found.id in reap.remaining(client, {found.id}) else code


def _epochs(trip: Trip) -> int:
    """Epochs on record here."""
    files = (ROOT / trip.folder).glob("runs/*/records.jsonl")
    return sum(line.count(b'"event":"epoch"') for file in files for line in file.open("rb"))


def _remember(trip: Trip, found: Instance, epochs: int, seconds: float) -> None:
    """For the next estimate; a few epochs would measure the start."""
    if trip.work and epochs >= FEWEST_EPOCHS:
        Memory().took(trip.work.key(found.card, found.count), seconds / epochs)


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
    print(f"the same command with --resume continues on another one{' from the bucket' if trip.bucket else ''}")
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
    command = f"python {shlex.join(trip.words)} --address auto"
    if trip.bucket:
        address, *options = trip.bucket
        place = shlex.join(["python", "-m", "clusters.bucket", "run", address, str(trip.folder), *options, "--"])
        command = f"{place} {command}"
    inner = f"source ~/.bashrc; cd ~/study && {command} > ~/study.log 2>&1; echo $? > ~/study.exit"
    print(f"$ ray exec --tmux {trip.file.path} {shlex.quote(f'cd ~/study && {command}')}")
    words = shlex.quote(shlex.join(trip.words))
    prepared = f"rm -f ~/study.log ~/study.exit; echo {words} > ~/study.words; mkdir -p ~/study/{trip.folder}"
    shell = f"bash --login -i -c {shlex.quote(inner)}"
    # the bucket's key comes over ssh into the environment of this one tmux; it is in no file and on no command line
    given = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in trip.secrets.items())
    server = f"{TMUX} kill-server 2>/dev/null; {TMUX} new-session -d -s study {shlex.quote(shell)}"
    if _asks(trip, found, f'{prepared}; eval "$(cat)"; {server}', given):
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
            now = machine(client, trip)
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


def _asks(trip: Trip, found: Instance, words: str, given: str = "") -> int:
    return subprocess.run(
        ssh(found, trip.file.private_key, [words]), input=given.encode(), capture_output=True
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


def way_back(trip: Trip) -> str:
    """What to do about a machine that is left at work."""
    config, limits = trip.file.path, trip.file.limits
    after = "as soon as the results are in the bucket" if "--end-machine" in trip.bucket else "after the study"
    return (
        f"\nThe machine goes on, and deletes itself {limits.idle_minutes:g} minutes {after}, or at "
        f"{limits.max_usd:g} USD.\n"
        f"  follow it again   the same command\n"
        f"  fetch records     ray rsync-down {config} '~/study/{trip.folder}/' {trip.folder}/\n"
        + (
            f"  ... or            python -m clusters.bucket pull {trip.bucket[0]} {trip.folder}\n"
            if trip.bucket
            else ""
        )
        + f"  end it now        ray down -y {config} && python -m clusters.vast reap"
    )
