"""seq-JEPA (arXiv 2505.03176) and its variations. The faces are described in :mod:`trainer.families`; importing this
costs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainer.config import SETS
from trainer.errors import UsageError
from trainer.families.seq_jepa.config import SeqJEPAConfig as Config

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from trainer.data.images import ImageSet
    from trainer.data.views import Views
    from trainer.families.seq_jepa.method import SeqJEPA
    from trainer.families.seq_jepa.probing.face import SeqJEPAProbes


def source(config: Config, images: ImageSet, dtype: torch.dtype, rank: int = 0, workers: int = 1) -> Views:
    """Views of images and the actions between them."""
    if config.data.stream is not None:
        from trainer.data.sources.stream import Stream as Views
    elif config.objective.local is not None and config.objective.local.cached:
        from trainer.data.sources.repeated import Repeated

        return Repeated(config, images, dtype, rank, workers, first=config.objective.local.warm_epochs)
    else:
        from trainer.data.views import Views

    return Views(config, images, dtype, rank, workers, reverse=config.objective.symmetric)


def make(config: Config, source: Views) -> SeqJEPA:
    """The configured model."""
    from trainer.families.seq_jepa.variants import make

    return make(config, SETS[config.data.name].channels, source)


def probes(config: Config, images: ImageSet, source: Views, method: SeqJEPA, device: torch.device) -> SeqJEPAProbes:
    """What is measured of it."""
    if config.data.stream is not None:
        from trainer.families.seq_jepa.continual.probing import StreamProbes as SeqJEPAProbes
    else:
        from trainer.families.seq_jepa.probing.face import SeqJEPAProbes

    return SeqJEPAProbes(config, images, source, method, device)


def epoch_macs(config: Config) -> float | None:
    """Multiply-adds of an epoch's training: backward costs twice the forward pass, and a target without gradient has
    none. None where the encoder's are not known."""
    from trainer.command.duration import encoder_macs

    sequences, stream = config.images_per_epoch, config.data.stream
    if stream is not None:
        sequences *= 1 + stream.replayed(config.optim.batch_size) / config.optim.batch_size
    targets, observed = 1, config.data.observed_views
    if config.objective.symmetric:  # all views are observed once, and both ends are targets
        targets, observed = 2, observed + 1
    passes = 3 * observed + (3 if config.objective.teacher == "shared" else 1) * targets
    macs = encoder_macs(config.model.encoder, SETS[config.data.name].channels, config.data.canvas)
    return None if macs is None else sequences * passes * macs


def check_evaluation(config: Config, views: list[int], subspace: bool) -> None:
    """Raise UsageError for numbers of views that are not recorded, and for diagnostics of what has none."""
    if subspace and not (config.data.swept or config.model.white_box):
        what = config.data.name if config.data.transform == "object" else config.data.transform
        raise UsageError(
            f"--subspace: {what} has no factor that could be swept alone, and the model no white-box layers; leave it"
            " out"
        )
    recorded = SETS[config.data.name].views
    if config.data.transform == "object" and max(views) >= recorded:
        raise UsageError(
            f"--views {max(views)}: must be below {recorded}, the recorded views of an object of {config.data.name}"
        )


def tables(metrics: Mapping[str, float | None], config: Config) -> list[Table]:
    """An evaluation, each number beside its controls."""
    from trainer.families.seq_jepa.evaluation_tables import tables

    return tables(metrics, config.data.observed_views)


USUAL = ("*",)
LEGEND = """loss: of prediction; linacc: linear accuracy (%) of z_agg, in training; rank:
effective rank of z and of z_agg; frozen: linacc of the frozen model, if probed"""
COLUMNS = (
    ("loss", "predict_live/z_hat", "6.4f"),
    ("linacc", "linacc_live/z_agg", "4.1f"),
    ("rank z", "rank_pr_live/z", "4.1f"),
    ("rank z_agg", "rank_pr_live/z_agg", "4.1f"),
)
"""Of an epoch's line on the console: label, metric without its number of views, and format."""


SECOND = (
    ("ACC", "linacc.acc/z_agg", "4.1f"),
    ("forgetting", "linacc.forgetting/z_agg", "4.1f"),
    ("anytime", "linacc.anytime/z_agg", "4.1f"),
)
"""Of a stream, at the ends of its segments: of the segments so far."""


def headline(config: Config) -> dict[str, str]:
    """``score``, ``rank`` and ``r2_action`` of reports, and what else gates read, by their names in the record."""
    m = config.data.observed_views
    return {
        "score": f"linacc/z_agg@{m}", "rank": f"rank_pr/z_agg@{m}",
        "r2_action": f"r2_action.{config.data.action_scale}/z_pair@2",
        "rank_z": f"rank_pr/z@{m}", "predict": f"predict/z_hat@{m}",
    }  # fmt: skip
