"""One command for the whole trip: rent, run, follow, bring home, give back. Each step is a Ray command, and is printed.

The study runs in tmux on the machine: closing this command, or losing this computer, does not stop it. The same command
again follows it; the machine deletes itself when the study has ended and nobody came.
"""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import replace
from typing import Any

import yaml

from clusters.bucket.store import Store, environment
from clusters.bucket.upload import DECISIONS
from clusters.vast import cluster_file, memory
from clusters.vast import limits as caps
from clusters.vast.client import Client
from clusters.vast.cluster_file import ClusterFile
from clusters.vast.command import shared
from clusters.vast.command.planned import planned
from clusters.vast.command.travel import LOST, Trip, machine, travel, way_back
from clusters.vast.errors import NoOffer, VastError
from clusters.vast.estimate import estimate
from clusters.vast.memory import Memory
from clusters.vast.offers import Offer, query, ranked


def main(argv: list[str]) -> int:
    p = shared.parser(
        "study",
        "Rent a machine, run a study on it, bring its records home as they appear, and give it back. Options of "
        "the study stay as they are.",
        "studies/step2_rate.py --preset cifar100_aug_gate --max-usd 20",
        "studies/step2_rate.py --preset cifar100_aug_gate --resume      # after anything went wrong",
        "studies/step2_rate.py --preset cifar100_aug_gate --again 3 --bucket s3://bucket/rate",
    )
    shared.add_file(p)
    p.add_argument("script", help="a file of studies/; what follows and is not listed here is given to it")
    p.add_argument("--max-usd", type=float, help="of the machine (default: the file's max_usd)")
    p.add_argument("--max-hours", type=float, help="of the machine (default: the file's max_hours)")
    p.add_argument(
        "--keep", action="store_true", help="leave the machine at the end; it deletes itself after idle_minutes"
    )
    p.add_argument(
        "--bucket", help="s3://bucket/prefix: results go there while the study runs, and --resume fetches them"
    )
    p.add_argument("--checkpoints", action="store_true", help="send checkpoints to the bucket as well")
    p.add_argument(
        "--detach",
        action="store_true",
        help="come back when the study has begun; its machine ends itself when the results are in the bucket",
    )
    p.add_argument(
        "--again",
        type=int,
        default=0,
        help="if the machine is taken away, rent another and go on with --resume, so many times (default: 0)",
    )
    p.add_argument("--yes", action="store_true", help="do not ask before money is spent")
    p.add_argument("--poll-seconds", type=float, default=20.0, help="between two looks at the machine (default: 20)")
    o, words = p.parse_known_args(argv)
    trip = _trip(o, words)
    machines = 1 + o.again
    client = shared.account()
    found = machine(client, trip)
    if found is None and trip.bucket and "--resume" not in words and DECISIONS in Store(trip.bucket[0]).sizes():
        raise VastError(
            f"{trip.bucket[0]} holds a study already: go on with it by --resume, fetch it with python -m "
            "clusters.bucket pull, or give another address"
        )
    if found is None and not _agreed(client, trip, machines, o.yes):
        print("nothing was rented")
        return 0
    for left in reversed(range(o.again + 1)):
        try:
            code = travel(client, trip, found, o.keep, o.detach)
        except KeyboardInterrupt:
            print(way_back(trip))
            raise
        if code != LOST or not left:
            return code
        print(f"going on with another machine; {left - 1} more times after it", flush=True)
        found = machine(client, trip)
        if found is None and "--resume" not in trip.words:
            trip = replace(trip, words=[*trip.words, "--resume"])
    raise AssertionError("unreachable")


def _trip(o: argparse.Namespace, words: list[str]) -> Trip:
    """Raises VastError or UsageError for everything that can be known before renting."""
    if not 0 <= o.again <= 20 or (o.again and o.detach):
        raise VastError(f"--again {o.again}: must be 0 to 20, and needs this command to follow: without --detach")
    if not 0.1 <= o.poll_seconds <= 600:
        raise VastError(f"--poll-seconds {o.poll_seconds:g}: must be 0.1 to 600")
    file = _limited(cluster_file.load(o.config), o.max_usd, o.max_hours)
    plan = planned(o.script, words)
    print(plan.text)
    if plan.added:
        print(
            f"added      {shlex.join(plan.added)}: what a bare machine with a GPU needs, as you did not say otherwise"
        )
    return Trip(file, [o.script, *words, *plan.added], plan.folder, o.poll_seconds, *_bucket(o), work=plan.work)


def _bucket(o: argparse.Namespace) -> tuple[tuple[str, ...], dict[str, str]]:
    """What the uploading process is told, and its key, after trying both here: nothing is rented for a wrong one."""
    if o.bucket is None:
        if o.checkpoints or o.detach:
            raise VastError("--checkpoints and --detach need --bucket: nothing else keeps what the machine has")
        return (), {}
    secrets = environment(os.environ)
    store = Store(o.bucket)
    store.ready()
    options = ["--every", f"{max(0.1, min(60.0, 3 * o.poll_seconds)):g}"]
    options += ["--checkpoints"] * o.checkpoints + ["--end-machine"] * o.detach
    return (store.address, *options), secrets


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


def _agreed(client: Client, trip: Trip, machines: int, yes: bool) -> bool:
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
    if best.bid is not None:
        print(
            f"           interruptible, for a bid of {best.bid:.3f} USD/h: whoever bids more takes it away without "
            "notice; --again N rents another and goes on"
        )
    if machines > 1:
        print(
            f"           and up to {machines - 1} more after it, {machines * trip.file.limits.max_usd:.2f} USD in all"
        )
    print(_estimated(trip, best, hours))
    return shared.confirmed("rent it?", yes)


def _estimated(trip: Trip, best: Offer, hours: float) -> str:
    """What the study takes and costs on an offer, in one or two lines."""
    found = estimate(trip.work, best, Memory()) if trip.work else None
    if found is None:
        known = "this study does not count its arithmetic" if trip.work is None else f"no speed of {best.card} is known"
        return f"estimate   none: {known}; the limits hold all the same"
    text = (
        f"estimate   about {found.hours:.1f} h, {found.usd:.2f} USD with traffic (without early stopping "
        f"{found.most_hours:.1f} h, {found.most_usd:.2f} USD):\n           {found.source}"
    )
    if found.most_hours > hours:
        text += (
            f"\n           {'more' if found.hours > hours else 'perhaps more'} than the machine's limits: raise "
            "--max-usd or --max-hours, or go on with --resume"
        )
    return text
