"""Whether this machine has a key for W&B; the key itself is not read further than that it is there."""

from __future__ import annotations

import netrc
import os
from urllib.parse import urlsplit

PUBLIC = ("api.wandb.ai", "api.forge.coreweave.com")
"""Hosts of the public service; ``wandb login`` notes its key under the one that the client's version knows."""


def server() -> str:
    """What messages call the server that is asked."""
    return os.environ.get("WANDB_BASE_URL") or "W&B's public server"


def has_key() -> bool:
    """Whether the environment or the file that ``wandb login`` writes holds a key for the server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    own = urlsplit(os.environ.get("WANDB_BASE_URL") or "").hostname
    try:
        known = netrc.netrc(os.environ.get("NETRC") or None)
    except (OSError, netrc.NetrcParseError):
        return False
    return any(known.authenticators(host) is not None for host in ([own] if own else PUBLIC))
