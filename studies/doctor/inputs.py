"""The data set's files and the Weights & Biases key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from studies.doctor.finding import GB, Finding, fail, ok, warn
from trainer.config import DataConfig, RunConfig, members
from trainer.data.sets import FOLDERS, require_present
from trainer.data.sets.places import made_folder
from trainer.errors import UsageError
from trainer.mirrors.wandb_mirror import resolve_mode

QUICK_BYTES = 4 * GB  # about ten seconds of reading; larger sets are read only when asked


def data(config: RunConfig) -> Finding:
    """Whether the preset's files are on this machine or will be fetched."""
    root, sets = Path(config.runtime.data_root), members(config.data)
    try:
        require_present(config)
    except UsageError as error:
        value, _, do = str(error).partition("; ")
        return fail("data", value, "a study would refuse to start", do)
    return ok("data", "; ".join(_where(one, root) for one in sets))


def _where(data: DataConfig, root: Path) -> str:
    name = data.name
    if name not in FOLDERS or data.generated:
        return f"{name} needs no files"
    if (root / FOLDERS[name]).is_dir():
        return f"{name} in {root / FOLDERS[name]}"
    return f"{name} is absent and will be fetched into {root} (--download)"


def shards(config: RunConfig, everything: bool) -> Iterator[Finding]:
    """The decoded images beside the files, if there are any: sizes and headers, and their checksums up to QUICK_BYTES.

    Args:
        everything: read them whatever their size.
    """
    for one in members(config.data):
        yield from _shards(made_folder(config) / f"{one.name}-shards", everything)


def _shards(folder: Path, everything: bool) -> Iterator[Finding]:
    if not folder.is_dir():
        return
    from trainer.data.shards import is_complete, shard_paths, verify_shards  # numpy: not for --help

    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        complete = is_complete(folder, manifest["source"])
    except (OSError, ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        why = "the first trial decodes the rest while the others wait"
        yield warn("shards", f"{folder} is not finished", why, "start one run alone first: python -m trainer")
        return
    try:
        size = sum(path.stat().st_size for path in shard_paths(folder))
        read = everything or size <= QUICK_BYTES
        if read:
            verify_shards(folder)
    except (UsageError, OSError) as error:
        fault = str(error).partition("; ")[0]
        yield fail("shards", fault, "trials would see other images", f"remove {folder}")
        return
    told = "match their checksums" if read else "have the right sizes; --checksums reads them all"
    yield ok("shards", f"{size / GB:.1f} GB in {folder} {told}")


def wandb(asked: str | None) -> Finding:
    """Whether the mirror asked for can work; the key itself is not read further than that it is there."""
    try:
        mode = resolve_mode(asked)
    except UsageError as error:
        _, _, do = str(error).partition(": ")
        return fail("wandb", f"--wandb {asked}, but there is no key", "a study would refuse to start", do)
    told = {
        "online": "a key is there; the records stay the truth if the service fails",
        "offline": "kept in the study's folder; `wandb sync` sends it later"
        + ("" if asked else "; no key: set WANDB_API_KEY or run `wandb login` for online, or give --wandb off"),
        "off": "only the records",
    }
    return ok("wandb", f"{mode}: {told[mode]}")
