"""A shell on a rented machine, also one whose ``ray up`` failed."""

from __future__ import annotations

import os

from clusters.vast import cluster_file
from clusters.vast.command import shared
from clusters.vast.errors import VastError
from clusters.vast.rent import ssh


def main(argv: list[str]) -> int:
    p = shared.parser("ssh", "Log into a rented machine.", "1001", "-- nvidia-smi")
    shared.add_file(p)
    p.add_argument("instance", nargs="?", help="its number (default: the only one)")
    words = argv[argv.index("--") + 1 :] if "--" in argv else []
    o = p.parse_args(argv[: argv.index("--")] if "--" in argv else argv)
    mine, _ = shared.ours(shared.account())
    found = [i for i in mine if o.instance in (None, str(i.id))]
    if not mine:
        raise VastError("this project has no instance to log into; rent one with: ray up clusters/vast.yaml")
    if len(found) != 1:
        names = ", ".join(str(i.id) for i in mine)
        raise VastError(f"{f'no instance {o.instance}' if o.instance else 'several instances'}; give one of {names}")
    if found[0].host is None:
        raise VastError(
            f"instance {found[0].id} is {found[0].status or 'created'} and has no ssh yet; try again in a minute"
        )
    command = ssh(found[0], cluster_file.load(o.config).private_key, words)
    os.execvp(command[0], command)
