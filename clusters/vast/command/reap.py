"""The end of what nobody ends: overdue, broken, or forgotten instances."""

from __future__ import annotations

import time

from clusters.vast.client import Client
from clusters.vast.command import list as listing
from clusters.vast.command import shared

BOOT_SECONDS = 1800
PATIENCE_SECONDS = 120


def main(argv: list[str]) -> int:
    p = shared.parser(
        "reap",
        "Delete this project's instances that are stopped, broken, never started or past their own time limit, "
        "then list what is left. "
        "Exit code 0 if all of them are gone, 1 otherwise.",
        "--all --yes",
    )
    p.add_argument("--all", action="store_true", help="also those that work")
    p.add_argument("--yes", action="store_true", help="do not ask")
    o = p.parse_args(argv)
    client = shared.account()
    mine, _ = shared.ours(client)
    now = time.time()
    ending = [i for i in mine if o.all or i.overdue(BOOT_SECONDS, now)]
    if ending:
        print(shared.table([listing.row(i, now) for i in ending]))
        if not shared.confirmed(f"delete {len(ending)} with their disks?", o.yes):
            ending = []
        for found in ending:
            client.destroy(found.id)
    return int(bool({i.id for i in ending} & remaining(client, {i.id for i in ending})))


def remaining(client: Client, ended: set[int]) -> set[int]:
    """Wait until the account lists none of ``ended`` and print what is left of this project.

    Returns:
        the numbers of what is left.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        mine, others = shared.ours(client)
        still = ended & {i.id for i in mine}
        if not still or time.monotonic() > deadline:
            break
        time.sleep(3)
    print(
        f"{len(mine)} instance{'' if len(mine) == 1 else 's'} "
        f"left{f' ({others} of others on the account)' if others else ''}"
    )
    if mine:
        print(shared.table([listing.row(i, time.time()) for i in mine]))
    return {i.id for i in mine}
