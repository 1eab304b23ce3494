"""Path integration (2505.03176, appendix B.9): does the aggregate know the way from the first view to the target?

The transformation x_1 -> x_{M+1} is regressed from [z_agg; e(a_M)], e being the model's action embedding. Controls: the
aggregator without its actions (embedded actions set to zero, which is what it sees in its empty slot), without vision
(codes set to zero), and the last action alone. Note that the actions by themselves determine the whole path, so the
control
without vision is not bound to fail: it says how much of the path is integrated from actions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.config import DataConfig
from trainer.data import poses
from trainer.data.object_views import relative_quaternion
from trainer.data.poses import Poses
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.families.seq_jepa.probing.features import Features, aggregate


def whole_path(parameters: Tensor, data: DataConfig) -> Tensor:
    """(n, P) transformation from the first to the last view, in the transform's own composition, without action
    scaling.

    Args:
        parameters: (n, V, P) absolute parameters of the views, as ``poses`` of a batch.
    """
    first, last = parameters[:, 0], parameters[:, -1]
    if data.transform in ("rotation", "affine"):
        return poses.relative(_pose(first), _pose(last)).parameters(data.transform)
    if data.transform == "object":
        return torch.cat([relative_quaternion(first[:, :4], last[:, :4]), last[:, 4:] - first[:, 4:]], dim=1)
    return last - first


def path_features(method: SeqJEPA, features: Features) -> dict[str, Tensor]:
    """Inputs of the regression by name, each (n, d), from a model in evaluation mode.

    ``z_agg_a``: [z_agg; e(a_M)]; ``z_agg_no_actions_a``: the aggregator's actions zeroed, e(a_M) kept;
    ``z_agg_no_actions``: e(a_M) left out as well; ``z_agg_no_vision_a``: codes zeroed, all actions kept; ``a``: e(a_M)
    alone.
    """
    between, last = features.actions[:, :-1], features.actions[:, -1]
    blind = aggregate(method, torch.zeros_like(features.z), between)
    still = aggregate(method, features.z, torch.zeros_like(between))
    return {
        "z_agg_a": torch.cat([features.z_agg, last], 1),
        "z_agg_no_actions_a": torch.cat([still, last], 1),
        "z_agg_no_actions": still,
        "z_agg_no_vision_a": torch.cat([blind, last], 1),
        "a": last,
    }


def _pose(parameters: Tensor) -> Poses:
    """Back from sin, cos (and x, y, log scale)."""
    nothing = parameters.new_zeros(len(parameters), 3)
    rest = parameters[:, 2:] if parameters.shape[1] > 2 else nothing
    return Poses(torch.atan2(parameters[:, 0], parameters[:, 1]), rest[:, :2], rest[:, 2])
