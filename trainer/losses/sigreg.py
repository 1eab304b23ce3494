"""Sketched isotropic Gaussian regularisation (LeJEPA, arXiv 2511.08544): push features towards N(0, I).

Along random unit directions the features' empirical characteristic function is compared with a standard Gaussian's,
exp(-t^2/2), by the Epps-Pulley statistic: the squared distance integrated over t with a Gaussian window, times n.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import world
from trainer.config import SigRegConfig
from trainer.data.philox import Purpose, uniforms
from trainer.losses.prediction import wide
from trainer.losses.term import Regularising, Term


class SigReg(Regularising):
    """The statistic of (n, d) features over the rows of all workers, averaged over directions; zero for a Gaussian."""

    LIMIT = 3.0

    def __init__(self, config: SigRegConfig, seed: int):
        super().__init__(config)
        self.seed = seed
        t = torch.linspace(0, self.LIMIT, config.knots, dtype=torch.float64)
        step = self.LIMIT / (config.knots - 1)
        # trapezoid over [0, LIMIT], doubled because the integrand is even
        weight = torch.full_like(t, 2 * step)
        weight[0] = weight[-1] = step
        gauss = torch.exp(-t.square() / 2)
        self.register_buffer("t", t.float(), persistent=False)
        self.register_buffer("gauss", gauss.float(), persistent=False)
        self.register_buffer("weight", (weight * gauss).float(), persistent=False)

    def forward(self, rows: Tensor, step: Tensor | None = None) -> Term:
        """Of (n, d) local rows; ``step`` decides the directions, the same on every worker."""
        with torch.autocast(rows.device.type, enabled=False):
            rows = wide(rows)
            slices = self.directions(rows.shape[1], step).to(rows.dtype)
            phase = (rows @ slices)[..., None] * self.t.to(rows.dtype)
            # the only thing that couples rows: means, so only they are shared between workers
            means = _mean_rows(torch.cat([phase.cos().mean(0), phase.sin().mean(0)]))
            real, imaginary = means.chunk(2)
            distance = (real - self.gauss.to(rows.dtype)).square() + imaginary.square()
            return Term((distance * self.weight.to(rows.dtype)).sum(1).mean() * (len(rows) * world.size()))

    def directions(self, width: int, step: Tensor) -> Tensor:
        """(width, slices) unit columns, uniform on the sphere, a function of (seed, step)."""
        index = torch.arange(self.config.slices, device=step.device)
        u = uniforms(self.seed, Purpose.SLICES, step, index, 2 * width).view(-1, width, 2)
        # Box-Muller; the offset keeps the logarithm finite
        normal = (-2 * (u[..., 0] + 2.0**-25).log()).sqrt() * (2 * math.pi * u[..., 1]).cos()
        return F.normalize(normal, dim=1).T


def _mean_rows(means: Tensor) -> Tensor:
    """Average over workers, with gradient (equal shares)."""
    if world.size() == 1:
        return means
    return world.gather_rows(means[None]).mean(0)
