"""Views that are patches around fixations; the action is the eye's movement (predictive learning over saccades, paper
4.3).

Fixations are drawn one after the other from the saliency map; inhibition of return removes a neighbourhood of each from
the map before the next draw. Positions and actions are in fractions of the image's side, (row, column).
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.config import DataConfig


class Glimpses:
    """Draws, renders and describes glimpses; attributes as in :class:`trainer.data.planar.Planar`.

    Args:
        saliency: (N, H, W) uint8 maps on the training device, or None for uniform fixations.
        side: height and width of the images.
    """

    per_image = True
    parameters = 2
    factors = {"position": slice(0, 2)}
    told = slice(None)

    def __init__(self, config: DataConfig, side: int, saliency: Tensor | None):
        self._glimpse, self._patch, self._side, self._saliency = config.glimpse, config.canvas, side, saliency

    def numbers(self, views: int) -> int:
        return views

    def draw(self, uniform: Tensor, index: Tensor, views: int) -> Tensor:
        """Fixations (B, V, 2), integer rows and columns; each view consumes one of (B, V) uniforms."""
        side = self._side
        if self._saliency is None:
            density = uniform.new_ones(len(uniform), side, side)
        else:
            density = self._saliency[index].to(uniform.dtype)
        # a flat map everywhere else than at inhibited places, if the saliency map is empty or used up
        floor = 1e-6
        density = density + floor
        axis = torch.arange(side, device=uniform.device)
        chosen = []
        for view in range(views):
            total = density.flatten(1).cumsum(1, dtype=torch.float64)
            wanted = uniform[:, view : view + 1].double() * total[:, -1:]
            place = torch.searchsorted(total, wanted, right=True).squeeze(1).clamp_max(side * side - 1)
            row, column = place // side, place % side
            chosen.append(torch.stack([row, column], dim=1))
            if self._glimpse.inhibition != "none" and view < views - 1:
                far_y = (axis[None] - row[:, None]).abs()[:, :, None]
                far_x = (axis[None] - column[:, None]).abs()[:, None, :]
                radius = self._glimpse.radius
                near = (far_y <= radius) & (far_x <= radius)
                if self._glimpse.inhibition == "circle":
                    near = far_y.square() + far_x.square() <= radius * radius
                # not exactly zero: if everything is inhibited, draws stay defined
                density = torch.where(near, density * 1e-16, density)
        return torch.stack(chosen, dim=1)

    def rows(self, index: Tensor, fixations: Tensor) -> Tensor:
        return index

    def render(self, images: Tensor, fixations: Tensor) -> list[Tensor]:
        """V patches (B, C, canvas, canvas) centred on the fixations; outside the image is black."""
        half = self._patch // 2
        padded = torch.nn.functional.pad(images, (half, self._patch - half, half, self._patch - half))
        offset = torch.arange(self._patch, device=images.device)
        batch = torch.arange(len(images), device=images.device)[:, None, None]
        views = []
        for fixation in fixations.unbind(1):
            y = (fixation[:, 0, None] + offset)[:, :, None]
            x = (fixation[:, 1, None] + offset)[:, None, :]
            views.append(padded[batch, :, y, x].permute(0, 3, 1, 2).contiguous())
        return views

    def absolute(self, fixations: Tensor) -> Tensor:
        """(B, V, 2) positions as fractions of the side."""
        return fixations.float() / self._side

    def actions(self, fixations: Tensor) -> Tensor:
        """(B, V-1, 2) movements as fractions of the side."""
        return self.absolute(fixations).diff(dim=1)

    def reverse(self, fixations: Tensor) -> Tensor:
        return fixations.flip(1)
