"""H-JEPA: joint-embedding prediction of hidden image parts at several levels; with one level, I-JEPA (2301.08243).

The faces are described in :mod:`trainer.families`; importing this costs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainer.config.mixture import channels
from trainer.errors import UsageError
from trainer.families.h_jepa.config import HJEPAConfig as Config

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from trainer.data.images import ImageSet
    from trainer.families.h_jepa.masked_views import MaskedViews
    from trainer.families.h_jepa.measures import HJEPAProbes
    from trainer.families.h_jepa.method import HJEPA


def source(config: Config, images: ImageSet, dtype: torch.dtype, rank: int = 0, workers: int = 1) -> MaskedViews:
    """Views without actions, and which patches of them are shown."""
    from trainer.families.h_jepa.masked_views import MaskedViews

    return MaskedViews(config, images, dtype, rank, workers)


def make(config: Config, source: MaskedViews) -> HJEPA:
    """The configured model."""
    from trainer.families.h_jepa.method import HJEPA

    return HJEPA(config, channels(config.data))


def probes(config: Config, images: ImageSet, source: MaskedViews, method: HJEPA, device: torch.device) -> HJEPAProbes:
    """What is measured of it."""
    from trainer.families.h_jepa.measures import HJEPAProbes

    return HJEPAProbes(config, images, source, device)


def epoch_macs(config: Config) -> float:
    """Multiply-adds of an epoch's training: see :mod:`trainer.families.h_jepa.arithmetic`."""
    from trainer.families.h_jepa.arithmetic import epoch_macs

    return epoch_macs(config)


def check_evaluation(config: Config, views: list[int], subspace: bool) -> None:
    """Raise UsageError for sweeps, of which this family has none."""
    if subspace:
        raise UsageError("--subspace: images of family h_jepa have no factor that could be swept; leave it out")


def tables(metrics: Mapping[str, float | None], config: Config) -> list[Table]:
    """An evaluation, each number beside its controls."""
    from trainer.families.h_jepa.evaluation_tables import tables

    return tables(metrics, [one.name for one in config.data.mixture or ()])


METRICS = (
    ("knn20/z_agg@M", "20-nearest-neighbour accuracy of z_agg", "percent", True),
    ("std/z_agg@M", "standard deviation of z_agg over images", "", True),
    ("pair_cosine/z_agg@M", "mean cosine of two images' z_agg", "", False),
)
"""Of a study's metrics: name, words, unit, and whether more is better."""
USUAL = ("rank*/z@M", "rank*/z_agg@M", "predict/z_hat@M", "linacc.*/z_agg@M", "knn20.*/z_agg@M")
LEGEND = """loss: of prediction, on held-out images; std, cosine: of two images' mean tokens, 0 and 1 if all are
alike; linacc, knn: accuracy (%) of the mean token of the frozen target encoder, if probed"""
COLUMNS = (
    ("loss", "predict_live/z_hat", "6.4f"),
    ("std", "std_live/z_agg", "5.3f"),
    ("cosine", "pair_cosine_live/z_agg", "5.3f"),
    ("rank", "rank_pr_live/z_agg", "4.1f"),
    ("linacc", "linacc/z_agg", "4.1f"),
    ("knn", "knn20/z_agg", "4.1f"),
)
"""Of an epoch's line on the console: label, metric without its number of views, and format."""


def headline(config: Config) -> dict[str, str]:
    """``score`` and ``rank`` of reports, and what else gates read, by their names in the record."""
    return {
        "score": "linacc/z_agg@1",
        "rank": "rank_pr/z_agg@1",
        "rank_z": "rank_pr/z@1",
        "predict": "predict/z_hat@1",
    }
