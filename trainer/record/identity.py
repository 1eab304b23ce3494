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
import os
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from trainer import families
from trainer.config import RunConfig, members, split_sizes

SCIENTIFIC = ("family", "data", "model", "objective", "optim", "schedule", "precision")
ROOT = Path(__file__).resolve().parents[2]
_ABSENT = object()


def arm_settings(config: RunConfig) -> dict[str, Any]:
    """The settings that are hashed, as plain JSON values."""
    settings = {name: value for name, value in _without_legacy(config).items() if name in SCIENTIFIC}
    of_sets = {one.name: list(split_sizes(one)[:3]) for one in members(config.data)}
    return {**settings, "split": of_sets[config.data.name] if config.data.mixture is None else of_sets}


def arm_id(config: RunConfig) -> str:
    """Ten hexadecimal digits, equal for equal scientific settings."""
    text = json.dumps(arm_settings(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def run_id(config: RunConfig) -> str:
    """arm_id and seed; the name of the run's folder."""
    return f"{arm_id(config)}-s{config.seed}"


def _without_legacy(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_without_legacy(item) for item in value]
    if not isinstance(value, BaseModel):
        return value
    kept = {}
    for name, legacy in _legacy(type(value)).items():
        item = getattr(value, name)
        if item != legacy:
            kept[name] = _without_legacy(item)
    return kept


@cache
def _legacy(kind: type[BaseModel]) -> dict[str, Any]:
    """The legacy value of each field."""
    extras = {name: field.json_schema_extra for name, field in kind.model_fields.items()}
    return {name: (extra if isinstance(extra, dict) else {}).get("legacy", _ABSENT) for name, extra in extras.items()}


@cache
def provenance(family: str = families.DEFAULT, card: str | None = None) -> dict[str, Any]:
    """Commit, whether the tree differs from it, hash of the code, and versions; columns of the record, not identity.

    Args:
        family: of the run; one whose code lies elsewhere adds ``family``, its name and a hash of its sources.
        card: the GPU that computes; its kernels round as no other's do.
    """
    commit, _ = _git("rev-parse", "HEAD")
    status, _ = _git("status", "--porcelain")
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "scikit-learn")}
    code = family_code(family)
    return {
        "commit": commit,
        "dirty": None if status is None else bool(status),
        "code": code_hash(),
        "python": platform.python_version(),
        "host": platform.node(),
        "processor": ", ".join(filter(None, (processor(), card))),
        "versions": versions,
        **({"family": {"name": family, "code": code}} if code else {}),
    }


LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Variables by which PyTorch and its libraries take other kernels than the widest that this processor has."""


def processor(facts: Path = Path("/proc/cpuinfo")) -> str:
    """Architecture and widest vector instructions, as ``x86_64 avx512f``, and which of :data:`LIMITS` are set: the
    libraries' kernels for others round otherwise, so that the same commit gives numbers that differ in their last
    bits."""
    known: set[str] = set()
    if facts.is_file():
        lines = (line.partition(":") for line in facts.read_text(encoding="utf-8", errors="replace").splitlines())
        known = next((set(value.split()) for name, _, value in lines if name.strip() in ("flags", "Features")), known)
    widest = next((name for name in ("avx512f", "avx2", "avx", "sve", "asimd") if name in known), "")
    limits = [f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name)]
    return " ".join(filter(None, (platform.machine(), widest, *limits)))


@cache
def code_hash() -> str:
    """Hash of the sources that numbers come from; it tells code apart where git cannot be asked."""
    return _hash(ROOT, *(ROOT / package for package in ("search_spaces", "studies", "trainer")))


@cache
def family_code(name: str) -> str | None:
    """The same of a family in a folder of its own, which neither our commit nor our hash speaks of; None for one that
    ships here."""
    folder = families.folder(name)
    return None if folder.is_relative_to(ROOT / "trainer") else _hash(folder, folder)


def _hash(root: Path, *folders: Path) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".yaml"):
                content = path.read_bytes()
                digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def unknown_commit() -> str | None:
    """Why git names no commit of this code, in a sentence; None if it does."""
    commit, why = _git("rev-parse", "HEAD")
    if commit is not None:
        return None
    return f"commit unknown ({why}): runs of other code are told apart by a hash of the sources, {code_hash()}"


def other_code(lines: Iterable[dict[str, Any]]) -> str | None:
    """By which other code lines of a record were written, in words: by commit, by the hash of the code where git knew
    none, and by that of a family elsewhere."""
    now = provenance()
    for line in lines:
        before = line.get("provenance") or {}
        commit, code = before.get("commit"), before.get("code")
        if commit and now["commit"]:
            if commit != now["commit"]:
                return f"recorded by commit {commit[:10]}, this code is {now['commit'][:10]}"
        elif code and code != now["code"]:
            return f"recorded by code {code}, this code is {now['code']} (hashes of the sources; the commit is unknown)"
        family = before.get("family")  # records of before families were hashed have none
        if family and family["code"] != (here := family_code(family["name"])):
            return (
                f"recorded by code {family['code']} of family {family['name']}, which is now"
                f" {here or 'one that ships here'}"
            )
    return None


@cache
def _git(*words: str) -> tuple[str | None, str]:
    """What git says of this code's folder, or None and why not."""
    # a hook or an editor that runs git sets these to another repository
    clean = {
        name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, timeout=10, env=clean)
    except FileNotFoundError:
        return None, "git is not installed"
    except subprocess.TimeoutExpired:
        return None, "git did not answer within 10 s"
    except OSError as error:
        return None, f"git cannot be run: {error.strerror}"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["git gave no reason"])[0].removeprefix("fatal: ")
    return done.stdout.strip(), ""
