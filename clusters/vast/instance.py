"""One rented machine as a row of the account's list describes it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from clusters.vast.errors import Unreachable

CLUSTER, NONCE, SECONDS = "STUDY_CLUSTER", "STUDY_NONCE", "STUDY_MAX_SECONDS"
_TAG = "STUDY_TAG_"
FIXED_TAGS = ("ray-node-type", "ray-user-node-type", "ray-launch-config", "ray-node-name", "ray-launch-request")
"""Ray's tags that never change: they travel in the instance's environment, one variable each."""

COMING = {None, "", "created", "loading"}
DEAD = {"exited", "stopped", "offline", "unknown"}
"""States that do not become running; the disk is billed in most of them."""


@dataclass(frozen=True)
class Instance:
    """Attributes: ``status`` as the service says; ``usd_per_hour`` with storage; ``began`` in seconds since 1970."""

    id: int
    machine: int | None
    status: str | None
    environment: dict[str, str]
    card: str
    count: int
    usd_per_hour: float
    began: float
    host: str | None
    port: int | None

    @property
    def cluster(self) -> str | None:
        """Of this project, or None for somebody else's instance."""
        return self.environment.get(CLUSTER)

    @property
    def nonce(self) -> str | None:
        return self.environment.get(NONCE)

    @property
    def tags(self) -> dict[str, str]:
        return {
            k.removeprefix(_TAG).lower().replace("_", "-"): v for k, v in self.environment.items() if k.startswith(_TAG)
        }

    @property
    def coming(self) -> bool:
        return self.status in COMING

    @property
    def dead(self) -> bool:
        return self.status in DEAD

    def hours(self, now: float | None = None) -> float:
        return max(0.0, (time.time() if now is None else now) - self.began) / 3600

    def overdue(self, boot_seconds: float, now: float | None = None) -> bool:
        """Past its own time limit, dead, or still not running long after it was rented."""
        age = self.hours(now) * 3600
        return (
            self.dead or (self.coming and age > boot_seconds) or age > float(self.environment.get(SECONDS, "inf")) + 600
        )


def tag_variables(tags: dict[str, str]) -> dict[str, str]:
    return {_TAG + name.upper().replace("-", "_"): tags[name] for name in FIXED_TAGS if name in tags}


def read(row: dict[str, Any]) -> Instance:
    """Raises Unreachable if the row is not understood."""
    try:
        pairs = row.get("extra_env") or []
        environment = {str(k): str(v) for k, v in (pairs.items() if isinstance(pairs, dict) else pairs)}
        host, port = _ssh(row)
        return Instance(
            id=row["id"],
            machine=row.get("machine_id"),
            status=row.get("actual_status"),
            environment=environment,
            card=str(row.get("gpu_name") or "?"),
            count=int(row.get("num_gpus") or 0),
            usd_per_hour=float(row.get("dph_total") or 0.0),
            began=float(row.get("start_date") or time.time()),
            host=host,
            port=port,
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise Unreachable(
            f"instance {row.get('id')} is not understood, so nothing is decided from it: {error!r}"
        ) from None


def _ssh(row: dict[str, Any]) -> tuple[str | None, int | None]:
    """The direct port if there is one, else the service's own proxy."""
    direct = (row.get("ports") or {}).get("22/tcp")
    if direct and row.get("public_ipaddr"):
        return str(row["public_ipaddr"]).strip(), int(direct[0]["HostPort"])
    if row.get("ssh_host") and row.get("ssh_port"):
        return str(row["ssh_host"]), int(row["ssh_port"])
    return None, None
