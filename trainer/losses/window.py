"""Second moments of a batch and of what came before it (local coding rate): for batches smaller than the features are
wide, whose own covariance has few directions.

``rows`` keeps the last rows themselves, ``covariance`` their running second moment. Either way the past has no
gradient and loses weight with age, because the features it was made of have moved on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trainer.config.losses import WindowConfig


class Moments(nn.Module):
    """The past of one feature.

    Attributes:
        kept: ``rows``: (W, d), the newest first; ``covariance``: (d, d). None until the first batch tells the width.
        weight: ``rows``: (W,), of each row, 0 where there is none yet; ``covariance``: (), of all past batches.
    """

    kept: Tensor | None
    weight: Tensor | None

    def __init__(self, config: WindowConfig):
        super().__init__()
        self.config = config
        self.register_buffer("kept", None)
        self.register_buffer("weight", None)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Factors Z' (m, d) with Z'Z the second moment of rows (n, d) and the past, whose weights sum to one, and the
        share of the current rows in it, a scalar.

        Only in training mode the rows become part of the past.
        """
        if self.kept is None:
            self._begin(rows)
        share, found = self._of_rows(rows) if self.config.form == "rows" else self._of_covariance(rows)
        return found, share

    def _of_rows(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        n, decay = len(rows), self.config.decay
        # a copy: the buffer moves before backward reads what it was
        past, weight = self.kept.clone(), self.weight * decay
        total = n + weight.sum()
        found = torch.cat([rows, past * weight.sqrt()[:, None]]) / total.sqrt()
        if self.training:
            size = self.config.rows
            with torch.no_grad():
                self.kept.copy_(torch.cat([rows.detach(), past])[:size])
                self.weight.copy_(torch.cat([torch.ones_like(rows[:, 0]), weight])[:size])
        return n / total, found

    def _of_covariance(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The root of the running moment stands for the past rows."""
        n, decay = len(rows), self.config.decay
        # weights are those of a mean over all batches so far with weights 1, b, b^2, ...: no start from zero to undo
        weight = self.weight * decay
        total = 1 + weight
        past = _root(self.kept)
        found = torch.cat([rows / (n * total).sqrt(), past * (weight / total).sqrt()])
        if self.training:
            with torch.no_grad():
                moment = rows.detach().T @ rows.detach() / n
                self.kept.copy_((moment + weight * self.kept) / total)
                self.weight.copy_(total)
        return 1 / total, found

    def _begin(self, rows: Tensor) -> None:
        d = rows.shape[1]
        shape = (self.config.rows, d) if self.config.form == "rows" else (d, d)
        self.kept = rows.new_zeros(shape).detach()
        self.weight = rows.new_zeros(shape[:1] if self.config.form == "rows" else ()).detach()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Buffers of a checkpoint are there before the first batch."""
        for name in ("kept", "weight"):
            stored = state_dict.get(f"{prefix}{name}")
            setattr(self, name, None if stored is None else stored.clone())
        super()._load_from_state_dict(state_dict, prefix, *rest)


def _root(moment: Tensor) -> Tensor:
    """(d, d) rows R with R'R the moment, which may have lost rank."""
    values, vectors = torch.linalg.eigh(moment)
    return values.clamp_min(0).sqrt()[:, None] * vectors.T
