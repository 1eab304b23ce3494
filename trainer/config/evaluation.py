"""What is measured, how a run is judged and where it computes. Nothing here changes what is learnt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trainer.config.node import Node, Positive

Epoch = Annotated[int, Field(ge=1)]
Epochs = Annotated[tuple[Epoch, ...], Field(strict=False)]


class EvalConfig(Node):
    """When the more expensive probes run; a family adds in which variant. What they measure is fixed in the family's
    code."""

    probe_epochs: Epochs = (3, 9, 27)
    """Epochs after which the action and leakage probes are fitted; the last epoch is always one."""
    live_every: Epoch = 1
    """Epochs between the cheap metrics named ``_live``; probe epochs always have them. On a GPU they cost an eighth of
    a CIFAR-100 epoch."""


class GateConfig(Node):
    """A go/no-go rule. Every part named must hold; a missing or non-finite metric fails it.

    Thresholds are relative to the same run's untrained encoder (epoch 0) because on easy data an
    untrained encoder already scores well above a collapsed one.
    """

    epoch: Epoch
    """Judged on the records of this epoch."""
    linacc_min: float | None = None
    """Linear accuracy on the aggregate, percent."""
    linacc_gain_min: float | None = None
    """Points of linear accuracy on the aggregate above the untrained encoder."""
    rank_agg_ratio_min: Positive | None = None
    """Effective rank of the aggregate divided by the untrained one."""
    rank_agg_min: Positive | None = None
    rank_z_min: Positive | None = None
    r2_action_min: float | None = None
    predict_max: Positive | None = None
    """Validation prediction loss, 1 - cosine."""

    @model_validator(mode="after")
    def _says_something(self) -> GateConfig:
        if self.rank_agg_ratio_min is None and self.rank_agg_min is None:
            raise ValueError("a gate needs rank_agg_ratio_min or rank_agg_min, or a collapsed run could pass it")
        return self


class RuntimeConfig(Node):
    """How the run is executed."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """torch threads per training process; several processes share a machine best with one each."""
    compile: bool = False
    """torch.compile the method. Numbers change in the last bits; whether it pays is printed after the first epoch."""
    data_root: str = "data"
    """Folder of the data sets' files."""
    download: bool = False
    """Fetch a data set that is absent (torchvision's mirrors)."""
    system_certs: bool = False
    """Trust the operating system's certificates for downloads and W&B, as networks with an inspecting proxy need."""
    resident_mib: Annotated[int, Field(ge=1)] = 8192
    """Images up to this size are kept in (device) memory; larger sets are read from memory-mapped shards."""
    cache_dir: str | None = None
    """Folder for what is made of the files (decoded images, saliency maps); default: $SEQ_JEPA_CACHE, else
    data_root."""
    own_files: bool = False
    """The files are not the published ones: their checksums, counts and classes are not compared with what was
    published."""
    saliency_file: str | None = None
    """data.glimpse.saliency=file: an .npy file with one uint8 map per image."""
    checkpoint_every: Epoch = 1
    """Epochs between checkpoints; the last epoch always writes one."""
    across_commits: bool = False
    """Continue or re-use a run that another commit of this code has recorded."""
    seconds_per_epoch: Positive | None = None
    """Measured cost of one epoch on one core, for --dry-run's estimate only."""
