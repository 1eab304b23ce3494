"""Follows a run's record and shows it elsewhere. The record is the truth: losing a mirror loses nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainer.config import RunConfig
from trainer.errors import with_kind
from trainer.mirrors.series import values
from trainer.record.writer import NAME

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Report:
    """What a study found, for its mirrors.

    Attributes:
        figures: PNG files.
        tables: frames by name, in full precision.
        files: of the report's folder, figures among them.
        said: verdicts and gates in words.
    """

    figures: list[Path]
    tables: dict[str, pd.DataFrame]
    files: list[Path]
    said: dict[str, Any]


class Mirror(Protocol):
    since: int
    trouble: str | None

    def log(self, epoch: int, values: dict[str, float]) -> None: ...

    def verdict(self, epoch: int, passed: bool, gate: str, reasons: list[str]) -> None: ...

    def figure(self, name: str, path: Path) -> None: ...

    def report(self, report: Report) -> None: ...

    def close(self) -> None: ...


def show_report(
    report: Report, config: RunConfig, study: str, folder: Path, wandb: str, tensorboard: bool
) -> str | None:
    """Show what belongs to a whole study, as a run named after the report's folder; returns what went wrong, if
    anything did."""
    name = folder.name
    mirrors = Mirrors(config, study, f"{study} {name}", folder, wandb, tensorboard, role=name, name=name)
    mirrors.show(report.figures)
    mirrors._each(lambda mirror: mirror.report(report))
    mirrors.close()
    return mirrors.trouble


class Mirrors:
    """What a run is shown in beside its record.

    Args:
        run: the run's folder.
        wandb: a mode of ``wandb_mirror.MODES``.
        role: what the run is in its study.
        name: of what is shown, if it is not the run itself.

    Attributes:
        trouble: one line about a mirror that is not what was asked for, else None. It never ends the run.
    """

    def __init__(
        self,
        config: RunConfig,
        study: str,
        label: str,
        run: Path,
        wandb: str,
        tensorboard: bool,
        role: str = "single",
        name: str | None = None,
    ):
        self._config, self._run, self._path, self._read = config, run, run / NAME, 0
        self.trouble: str | None = None
        self._named = name
        self._mirrors: list[Mirror] = []
        if wandb != "off":
            from trainer.mirrors.wandb_mirror import WandbMirror

            self._open("W&B", lambda: WandbMirror(wandb, config, study, label, run, role, name))
        if tensorboard:
            from trainer.mirrors.tensorboard_mirror import TensorboardMirror

            self._open("TensorBoard", lambda: TensorboardMirror(run, config, label, role))

    def follow(self) -> None:
        """Pass on what was recorded since the last call, one entry per epoch."""
        if not self._mirrors:
            return
        lines = [line for line in self._new_lines() if line["event"] in ("epoch", "eval", "stop")]
        for epoch, of_epoch in groupby(lines, key=lambda line: line["epoch"] or 0):
            found: dict[str, float] = {}
            gates = []
            for line in of_epoch:
                found |= values(line, self._config)
                gates += [line["gate"]] if line.get("gate") else []
            self._each(lambda mirror: mirror.log(epoch, found) if found and epoch >= mirror.since else None)
            for gate in gates:
                self._each(lambda mirror: mirror.verdict(epoch, gate["passed"], gate["gate"], gate["reasons"]))

    def close(self) -> None:
        self.follow()
        if self._named is None:
            self.show(sorted(self._run.rglob("*.png")))
        self._each(lambda mirror: mirror.close())
        self._mirrors = []

    def show(self, figures: list[Path]) -> None:
        """Pass on figures by their file names."""
        for figure in figures:
            self._each(lambda mirror: mirror.figure(f"figures/{figure.stem}", figure))

    def _new_lines(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole = file.read()
        whole = whole[: whole.rfind(b"\n") + 1]  # a line that is being written comes next time
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]

    def _open(self, name: str, make: Callable[[], Mirror]) -> None:
        try:
            mirror = make()
        except Exception as error:  # whatever a service or its client raises, a mirror must not cost a run
            self._say(f"no {name} mirror: {with_kind(error)[:160]}")
            return
        self._mirrors.append(mirror)
        if mirror.trouble:
            self._say(mirror.trouble)

    def _each(self, do: Callable[[Mirror], None]) -> None:
        for mirror in list(self._mirrors):
            try:
                do(mirror)
            except Exception as error:  # see _open
                self._mirrors.remove(mirror)
                self._say(f"{type(mirror).__name__} is given up: {with_kind(error)[:160]}")

    def _say(self, text: str) -> None:
        self.trouble = text
        print(f"warning: {text}", file=sys.stderr)
