"""The coding rate of a batch of features, and how much of its maximum is used.

R(Z) = 1/2 logdet(I + d/(n eps2) Z'Z) counts, in nats, how much volume n rows of Z span in d dimensions
(MCR2, arXiv 2006.08558). Maximising it spreads features; at full collapse it is near zero. Its forms
are described at :class:`trainer.config.RateConfig`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import world
from trainer.config import RateConfig
from trainer.losses.prediction import wide
from trainer.losses.term import Regularising, Term
from trainer.losses.window import Moments

LOG_EPS = 1e-4
"""The ``log`` form's addition to the identity."""


class CodingRate(Regularising):
    """Minus the configured rate (scaled), of one feature, over the rows of all workers.

    Health: ``rate_nats``, R itself, and ``rate_utilisation``, R over its maximum at the same total variance, in [0, 1],
    comparable across widths, batch sizes and forms.
    """

    by_feature = True

    def __init__(self, config: RateConfig, seed: int = 0):
        super().__init__(config)
        self.moments = Moments(config.window) if config.window is not None else None

    def forward(self, rows: Tensor, step: Tensor | None = None) -> Term:
        """Of (n, d) local rows; in half precision I + alpha G would not be positive definite."""
        with torch.autocast(rows.device.type, enabled=False):
            rows = world.gather_rows(wide(rows))
            if self.config.form in ("unit", "diagonal"):
                return self._unit(rows)
            return self._log(F.layer_norm(rows, rows.shape[1:]) if self.config.form == "ln" else rows)

    def _unit(self, rows: Tensor) -> Term:
        n, d = rows.shape
        # the floor keeps an all-zero row finite: it then adds no volume and no gradient explodes
        rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-6)
        if self.config.center:
            rows = rows - rows.mean(0)
        if self.moments is not None:
            return self._windowed(rows)
        alpha = d / (n * self.config.eps2)
        if self.config.form == "diagonal":
            nats = diagonal_bound(rows, alpha) / 2
        else:
            nats = logdet_identity_plus(rows, alpha) / 2
        gamma = (d + n) / (d * n)
        return _term(-gamma * nats, nats, _utilisation(2 * nats.detach(), rows, alpha, bool(self.config.center)))

    def _windowed(self, rows: Tensor) -> Term:
        """Of the rows and their past; gamma is that of as many rows as the current ones would be all of."""
        d = rows.shape[1]
        found, share = self.moments(rows)
        alpha = d / self.config.eps2
        nats = logdet_identity_plus(found, alpha) / 2
        n = len(rows) / share
        gamma = (d + n) / (d * n)
        value = -gamma * nats
        if self.config.window.compensate:
            # the same value, a gradient as of a window of the batch's own
            value = value.detach() + (value - value.detach()) / share
        term = _term(value, nats, _utilisation(2 * nats.detach(), found, alpha, False))
        return Term(term.value, term.health | {"window_share": share.detach()})

    def _log(self, rows: Tensor) -> Term:
        n, d = rows.shape
        rows = rows - rows.mean(0)
        extra = LOG_EPS if self.config.form == "log" else 0.0
        # logdet((1+e) I + a C) = d log(1+e) + logdet(I + a/(1+e) C)
        alpha = self.config.alpha / (n * (1 + extra))
        spread = logdet_identity_plus(rows, alpha)
        nats = d * math.log1p(extra) + spread
        return _term(-nats, nats, _utilisation(spread.detach(), rows, alpha, True))


def _term(value: Tensor, nats: Tensor, utilisation: Tensor) -> Term:
    return Term(value, {"rate_nats": nats.detach(), "rate_utilisation": utilisation})


def logdet_identity_plus(rows: Tensor, alpha: float) -> Tensor:
    """logdet(I + alpha Z'Z) of (n, d) rows by Cholesky of the smaller Gram matrix.

    Both sides are equal (Sylvester): logdet(I_d + alpha Z'Z) = logdet(I_n + alpha Z Z'). The result is NaN
    where the factorisation fails, so that the loop's check stops the run instead of training on.
    """
    gram = rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows
    matrix = torch.eye(len(gram), dtype=gram.dtype, device=gram.device) + alpha * gram
    if matrix.device.type == "mps":  # no Cholesky there
        matrix = matrix.cpu()
    factor, info = torch.linalg.cholesky_ex(matrix)
    value = 2 * factor.diagonal().log().sum()
    return torch.where(info == 0, value, math.nan).to(rows.device)


def diagonal_bound(rows: Tensor, alpha: float) -> Tensor:
    """logdet(I + alpha diag(Z'Z)) of (n, d) rows: never below logdet(I + alpha Z'Z) (Hadamard), and blind to how the
    coordinates go together."""
    return torch.log1p(alpha * rows.square().sum(0)).sum()


def _utilisation(logdet: Tensor, rows: Tensor, alpha: float, centred: bool) -> Tensor:
    """logdet over its maximum for the same trace: all directions equal, r = min(d, n or n-1) of them."""
    r = min(rows.shape[1], rows.shape[0] - 1 if centred else rows.shape[0])
    trace = rows.detach().square().sum()
    most = r * torch.log1p(alpha * trace / r)
    return torch.where(most > 0, logdet / most.clamp_min(1e-30), 0.0).clamp(0, 1)
