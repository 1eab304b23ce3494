"""TensorBoard events beside the record, written anew from it by every attempt, so that they always hold all of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer.config import RunConfig
from trainer.record.dotted import dotted

if TYPE_CHECKING:
    from trainer.mirrors.mirror import Report

FOLDER = "tensorboard"
_PLAIN = bool | int | float | str
"""What HParams has; lists are text there."""


class TensorboardMirror:
    """Events in ``RUN/tensorboard``: scalars, figures, and the settings for the HParams page, which takes its columns
    from those that runs have.

    Attributes:
        since: the first epoch to write.
    """

    since, trouble = 0, None

    def __init__(self, run: Path, config: RunConfig, label: str, role: str):
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        folder = run / FOLDER
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writer = SummaryWriter(str(folder))
        chosen = dotted(config.model_dump(mode="json", exclude={"runtime"}))  # where it ran is no choice of training
        settings = {name: value if isinstance(value, _PLAIN) else str(value) for name, value in chosen.items()}
        _, begun, self._ended = hparams({"arm": label, "role": role, **settings}, {})
        self._writer.file_writer.add_summary(begun)

    def log(self, epoch: int, values: dict[str, float]) -> None:
        from tensorboardX.proto.summary_pb2 import Summary

        # add_scalar would write our z_agg@3 as z_agg_3
        points = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.file_writer.add_summary(Summary(value=points), epoch)
        self._writer.flush()

    def verdict(self, epoch: int, passed: bool, gate: str, reasons: list[str]) -> None:
        self._writer.add_text("gate", "\n\n".join([f"{gate}: {'passed' if passed else 'failed'}", *reasons]), epoch)

    def figure(self, name: str, path: Path) -> None:
        from matplotlib.image import imread

        self._writer.add_image(name, imread(path)[..., :3], dataformats="HWC")

    def report(self, report: Report) -> None:
        """What a study says, as text; its tables are files, its figures were shown."""
        for name, said in report.said.items():
            lines = said.items() if isinstance(said, dict) else enumerate(said, start=1)
            self._writer.add_text(name, "\n\n".join(f"{about}: {text}" for about, text in lines))

    def close(self) -> None:
        self._writer.file_writer.add_summary(self._ended)
        self._writer.close()
