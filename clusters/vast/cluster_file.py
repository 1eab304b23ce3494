"""A cluster's YAML, as far as a machine of Vast.ai is concerned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from clusters.vast import limits as caps
from clusters.vast import ssh_key
from clusters.vast.errors import VastError
from clusters.vast.limits import Limits

DEFAULT = Path(__file__).resolve().parent.parent / "vast.yaml"


@dataclass(frozen=True)
class ClusterFile:
    """Attributes: ``raw`` is the whole file; the others are what it says about the machine."""

    path: Path
    raw: dict[str, Any]
    name: str
    limits: Limits
    disk_gb: int
    private_key: str


def load(path: Path = DEFAULT) -> ClusterFile:
    """Raises VastError with the file and what is wrong in it."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise VastError(f"{path}: there is no such file; the project's own is {DEFAULT}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise VastError(f"{path}: not YAML: {error}") from None
    try:
        provider = raw["provider"]
        node = raw["available_node_types"][raw["head_node_type"]]["node_config"]
        name, disk = str(raw["cluster_name"]), int(node["disk_gb"])
    except (TypeError, KeyError, ValueError) as error:
        raise VastError(f"{path}: {error} is missing or wrong; compare with {DEFAULT}") from None
    if provider.get("type") != "external":
        raise VastError(f"{path}: provider.type is {provider.get('type')!r}; this command is for machines of Vast.ai")
    try:
        limits = caps.read(provider)
    except VastError as error:
        raise VastError(f"{path}: {error}") from None
    key = (raw.get("auth") or {}).get("ssh_private_key") or ssh_key.DEFAULT
    return ClusterFile(path.resolve(), raw, name, limits, disk, str(Path(key).expanduser()))
