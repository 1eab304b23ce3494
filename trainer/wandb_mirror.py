"""Weights & Biases as a mirror of the record: losing it loses nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Protocol

from trainer.config import RunConfig
from trainer.errors import UsageError
from trainer.identity import arm_id, run_id

MODES = ("online", "offline", "off")


class Mirror(Protocol):
    def log(self, metrics: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class Off:
    """Mirrors nothing."""

    def log(self, metrics: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class _Run:
    """One W&B run per run_id; resumed runs continue it."""

    def __init__(self, mode: str, config: RunConfig, study: str, label: str, runs: Path):
        import wandb

        from trainer.certificates import trust_system

        trust_system(config.runtime.system_certs)
        folder = runs.parent / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "seq-jepa-studies"),
            id=f"{study}-{run_id(config)}",
            name=label,
            group=arm_id(config),
            config=config.model_dump(mode="json"),
            dir=str(folder),
            mode=mode,
            resume="allow",
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, metrics: dict[str, Any]) -> None:
        self._run.log({name: value for name, value in metrics.items() if value is not None}, step=metrics["epoch"])

    def close(self) -> None:
        self._run.finish()


def open_mirror(mode: str, config: RunConfig, study: str, label: str, runs: Path) -> Mirror:
    """The mirror of one run; ``mode`` is one of MODES."""
    if mode == "off":
        return Off()
    try:
        return _Run(mode, config, study, label, runs)
    except Exception as error:  # whatever the service or its client raises, a mirror must not cost a run
        print(f"warning: no W&B mirror for {run_id(config)}: {type(error).__name__}", file=sys.stderr)
        return Off()


def resolve_mode(asked: str | None) -> str:
    """``online`` if asked or, when nothing is asked, if there is a key; otherwise ``off``.

    Raises:
        UsageError: online without a key.
    """
    key = bool(os.environ.get("WANDB_API_KEY")) or _in_netrc()
    if asked == "online" and not key:
        raise UsageError("--wandb online needs a key: set WANDB_API_KEY or run `wandb login`; or use --wandb offline")
    return asked or ("online" if key else "off")


def _in_netrc() -> bool:
    import netrc

    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
