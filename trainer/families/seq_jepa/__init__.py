"""seq-JEPA (arXiv 2505.03176) and its variations. The faces are described in :mod:`trainer.families`; importing this costs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.config import SETS, RunConfig

if TYPE_CHECKING:
    import torch

    from trainer.data.images import ImageSet
    from trainer.data.views import Views
    from trainer.families.seq_jepa.method import SeqJEPA
    from trainer.families.seq_jepa.probing.face import SeqJEPAProbes


def source(config: RunConfig, images: ImageSet, dtype: torch.dtype, rank: int = 0, workers: int = 1) -> Views:
    """Views of images and the actions between them."""
    from trainer.data.views import Views

    return Views(config, images, dtype, rank, workers)


def make(config: RunConfig, source: Views) -> SeqJEPA:
    """The configured model."""
    from trainer.families.seq_jepa.method import SeqJEPA

    return SeqJEPA(config, SETS[config.data.name].channels, source.action_dim)


def probes(config: RunConfig, images: ImageSet, source: Views, method: SeqJEPA, device: torch.device) -> SeqJEPAProbes:
    """What is measured of it."""
    from trainer.families.seq_jepa.probing.face import SeqJEPAProbes

    return SeqJEPAProbes(config, images, source, method, device)


def headline(config: RunConfig) -> dict[str, str]:
    """``score``, ``rank`` and ``r2_action`` of reports, and what else gates read, by their names in the record."""
    m = config.data.observed_views
    return {
        "score": f"linacc/z_agg@{m}", "rank": f"rank_pr/z_agg@{m}", "r2_action": f"r2_action.{config.data.action_scale}/z_pair@2",
        "rank_z": f"rank_pr/z@{m}", "predict": f"predict/z_hat@{m}",
    }  # fmt: skip
