"""Runs of a W&B project as its server has them: ``wandb:ENTITY/PROJECT``, every recorded step of every run."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from analysis.frames.columns import WANDB
from analysis.ingest.foreign import ForeignRun, Numbers, whole, whole_epoch
from trainer.errors import UsageError, one_line
from trainer.mirrors.wandb_key import has_key, server

PREFIX = "wandb:"
LOOKS_LIKE = f"a project on W&B's server: {PREFIX}ENTITY/PROJECT"
TIMEOUT_SECONDS = 20
_ADDRESS = re.compile(r"wandb:([\w.-]+)/([^/\s:%?#]+)")
_STATES = {"finished": "complete", "failed": "failed", "killed": "interrupted", "preempted": "interrupted"}
"""What W&B calls the end of a run; every other word is of one that has none."""


def is_project(path: str | Path) -> bool:
    """Whether a path is meant as the address of a project."""
    return str(path).startswith(PREFIX)


def read(address: str) -> list[ForeignRun]:
    """Every run of a project, oldest first.

    History is scanned, not sampled: ``history()`` would give 500 points of a run, whatever it holds.

    Raises:
        UsageError: the address is none, there is no key or no network, the project is unknown or may not be read.
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise UsageError(f"{address}: must be {PREFIX}ENTITY/PROJECT, as the project's page has them in its address")
    if not has_key():  # the client would ask for one on a terminal
        raise UsageError(f"{address}: no key for {server()}; set WANDB_API_KEY, run `wandb login`, or give an export")
    import wandb
    from wandb.errors import AuthenticationError, Error

    key = os.environ.get("WANDB_API_KEY", "")
    try:
        api = wandb.Api(timeout=TIMEOUT_SECONDS)
        return [_run(run, address, found[2]) for run in api.runs(f"{found[1]}/{found[2]}", order="+created_at")]
    except AuthenticationError as error:
        do = "check the key and the network"
        raise UsageError(f"{address}: {server()} does not let in ({_said(error, key)}); {do}") from None
    except (Error, OSError) as error:
        raise UsageError(f"{address}: {server()} cannot be read ({_said(error, key)}); check the network") from None
    except ValueError as error:
        do = "check its spelling, and whether this key may read it"
        raise UsageError(f"{address}: {_said(error, key)}; {do}") from None


def _said(error: Exception, key: str) -> str:
    text = one_line(error)[:200]
    return text.replace(key, "...") if key else text


def _run(run: Any, address: str, project: str) -> ForeignRun:
    numbers, digest = Numbers(), hashlib.sha256()
    settings = {name: value for name, value in dict(run.config).items() if not name.startswith("_wandb")}
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    lines = []
    for row in run.scan_history():
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
        step = whole(row.get("_step"))
        metrics = numbers.of({name: value for name, value in row.items() if not name.startswith("_")})
        if metrics:
            lines.append({"step": step, "epoch": whole_epoch(metrics), "metrics": metrics})
    found = ForeignRun(WANDB, project, str(run.id), Path(f"{address}/{run.id}"), digest.hexdigest(), settings, lines)
    runtime = numbers.of({"seconds": dict(run.summary).get("_runtime")}).get("seconds")
    found.about = {"arm": run.name or str(run.id), "commit": getattr(run, "commit", None), "seconds": runtime}
    found.about["state"] = _STATES.get(str(run.state), "unfinished")
    found.caveats = ["read from W&B's server, which may change; the sum is of what was received", *numbers.caveats()]
    if str(run.state) not in _STATES:
        found.caveats.append(f"no end on record: W&B calls it {str(run.state)!r}")
    return found
