"""Views that are recorded pictures of one object, with the rotation between them as action (3DIEBench, paper 4.1).

The action from view i to view i+1 is the unit quaternion of R_i^-1 R_{i+1} (x, y, z, w), with w >= 0 since q and -q are
one rotation, and optionally the difference of hues.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import DataConfig


@dataclass(frozen=True)
class Recorded:
    """Chosen views: ``view`` (B, V) numbers, ``quaternion`` (B, V, 4) scalar last, ``hue`` (B, V, K)."""

    view: Tensor
    quaternion: Tensor
    hue: Tensor


class ObjectViews:
    """Draws and describes recorded views; attributes as in :class:`trainer.data.planar.Planar`.

    Args:
        quaternion: (N, R, 4) rotation of each of an object's R views, scalar last.
        hue: (N, R) or (N, R, K) colours of its surroundings.
    """

    per_image = False

    def __init__(self, config: DataConfig, quaternion: Tensor, hue: Tensor):
        self._quaternion, self._hue = quaternion, hue if hue.dim() == 3 else hue[..., None]
        self._with_hue = config.hue_action
        self.parameters = 4 + (self._hue.shape[2] if self._with_hue else 0)
        self.factors = {"rotation": slice(0, 4)} | ({"colour": slice(4, self.parameters)} if self._with_hue else {})
        self.told = slice(None)

    def numbers(self, views: int) -> int:
        return self._quaternion.shape[1]

    def draw(self, uniform: Tensor, index: Tensor, views: int) -> Recorded:
        """V different views of each object (B,): those with the smallest of its uniforms."""
        view = torch.argsort(uniform, dim=1, stable=True)[:, :views]
        rows = index[:, None]
        return Recorded(view, self._quaternion[rows, view], self._hue[rows, view])

    def rows(self, index: Tensor, views: Recorded) -> Tensor:
        """Positions (V * B,) of the pictures among all N * R, view after view."""
        return (index[:, None] * self._quaternion.shape[1] + views.view).T.reshape(-1)

    def render(self, images: Tensor, views: Recorded) -> list[Tensor]:
        """The (V * B, C, H, W) pictures, as V views (B, C, H, W)."""
        return list(images.view(views.view.shape[1], -1, *images.shape[1:]).unbind(0))

    def absolute(self, views: Recorded) -> Tensor:
        """(B, V, parameters): each view's own rotation (and hue)."""
        return self._columns(_upper(views.quaternion), views.hue)

    def actions(self, views: Recorded) -> Tensor:
        """(B, V-1, parameters)."""
        turn = relative_quaternion(views.quaternion[:, :-1], views.quaternion[:, 1:])
        return self._columns(turn, views.hue.diff(dim=1))

    def reverse(self, views: Recorded) -> Recorded:
        return Recorded(views.view.flip(1), views.quaternion.flip(1), views.hue.flip(1))

    def _columns(self, quaternion: Tensor, hue: Tensor) -> Tensor:
        return torch.cat([quaternion, hue], dim=-1) if self._with_hue else quaternion


def relative_quaternion(start: Tensor, end: Tensor) -> Tensor:
    """start^-1 end of (..., 4) unit quaternions (x, y, z, w), with w >= 0."""
    a, b = start[..., :3], end[..., :3]
    v, w = start[..., 3:], end[..., 3:]
    # Hamilton product of the conjugate of start with end
    vector = v * b - w * a - torch.linalg.cross(a, b)
    scalar = v * w + (a * b).sum(-1, keepdim=True)
    return _upper(torch.cat([vector, scalar], dim=-1))


def _upper(quaternion: Tensor) -> Tensor:
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
