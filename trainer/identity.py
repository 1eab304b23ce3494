"""Who a run is: ``arm_id`` names the scientific settings, ``run_id`` adds the seed.

Paths, logging, device and worker count, stop epoch and gates do not enter: they cannot change what a
step learns (batch-norm and the coding rate always act on the global batch). A field that a later
version adds declares the value which reproduces the older behaviour,
``Field(..., json_schema_extra={"legacy": value})``, and is left out of the hash at that value, so
identifiers on disk stay valid.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from trainer.config import RunConfig, split_sizes

SCIENTIFIC = ("data", "model", "objective", "optim", "schedule", "precision")
_ABSENT = object()


def arm_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that are hashed, as plain JSON values."""
    settings = {name: _without_legacy(getattr(config, name)) for name in SCIENTIFIC}
    return {**settings, "split": list(split_sizes(config.data)[:3])}


def arm_id(config: RunConfig) -> str:
    """Ten hexadecimal digits, equal for equal scientific settings."""
    text = json.dumps(arm_settings(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def run_id(config: RunConfig) -> str:
    """arm_id and seed; the name of the run's folder."""
    return f"{arm_id(config)}-s{config.seed}"


def _without_legacy(value: Any) -> Any:
    if not isinstance(value, BaseModel):
        return value
    kept = {}
    for name, field in type(value).model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        item = getattr(value, name)
        if item != extra.get("legacy", _ABSENT):
            kept[name] = _without_legacy(item)
    return kept


@cache
def provenance() -> dict[str, Any]:
    """Commit, whether the tree differs from it, and versions; columns of the record, not identity."""
    root = Path(__file__).resolve().parent.parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit, status = git("rev-parse", "HEAD"), git("status", "--porcelain")
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "scikit-learn")}
    return {
        "commit": commit,
        "dirty": None if status is None else bool(status),
        "python": platform.python_version(),
        "host": platform.node(),
        "versions": versions,
    }
