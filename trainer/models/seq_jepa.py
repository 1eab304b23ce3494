"""seq-JEPA (arXiv 2505.03176): predict a view's code from the views before it and the action to it.

    z_i   = f(x_i)                               encoder code, equivariant
    z_agg = g([AGG], [z_1; e(a_1)], ..., [z_M; 0])      aggregate, invariant
    zhat  = h([z_agg; e(a_M)])                   prediction of the target view's code
    loss  = weights.predict * mean(1 - cos(zhat, target)) + weights.rate * (-rate)
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config import EmaConfig, RunConfig
from trainer.data.views import Batch
from trainer.losses.coding_rate import CodingRate, Rate
from trainer.models.encoders import make_encoder
from trainer.models.norm import GlobalBatchNorm


@dataclass
class Output:
    """What a method gives the loop.

    Attributes:
        terms: scalar loss terms by the name of their weight.
        features: detached features by name, for probes: ``z`` (B, M, D), ``z_agg`` (B, T).
        health: detached scalars worth recording.
    """

    terms: dict[str, Tensor]
    features: dict[str, Tensor]
    health: dict[str, Tensor] = field(default_factory=dict)


class SeqJEPA(nn.Module):
    """The method: modules, target branch and loss terms.

    Args:
        channels: image channels.
        action_dim: components of an action.
    """

    def __init__(self, config: RunConfig, channels: int, action_dim: int):
        super().__init__()
        model, objective = config.model, config.objective
        self.objective = objective
        self.encoder = make_encoder(model.encoder, channels)
        width = self.encoder.features
        self.action = ActionEmbedding(action_dim, model.action_dim)
        self.aggregator = Aggregator(config, width + model.action_dim)
        self.predictor = _predictor(width + 2 * model.action_dim, model.predictor_hidden, width)
        self.rate = CodingRate(objective.rate)
        # last, so that teachers share every random number of initialisation
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False) if objective.teacher == "ema" else None

    def forward(self, batch: Batch) -> Output:
        z = self.encode(batch["observed"])
        actions = self.action(batch["actions"])
        z_agg = self.aggregator(z, actions[:, :-1])
        predict = self.prediction_loss(z_agg, actions[:, -1], batch["target"][0])
        rates = self._rates(z, z_agg)
        terms = {"predict": predict, "rate": torch.stack([rate.term for rate in rates.values()]).mean()}
        health = {"last_norm_gain/agg": self.aggregator.norm.weight.detach().square().mean().sqrt()}
        for name, rate in rates.items():
            health |= {f"rate_nats/{name}": rate.nats, f"rate_utilisation/{name}": rate.utilisation}
        return Output(terms, {"z": z.detach(), "z_agg": z_agg.detach()}, health)

    def prediction_loss(self, z_agg: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Mean of 1 - cos between the predicted and the target branch's code of the target view.

        Args:
            z_agg: (B, T); action: (B, E) embedded action to the target; target: (B, C, H, W) images.
        """
        prediction = self.predictor(torch.cat([z_agg, action], dim=1))
        return (1 - F.cosine_similarity(_wide(prediction), _wide(self.target(target)), dim=1, eps=1e-8)).mean()

    def encode(self, images: list[Tensor]) -> Tensor:
        """Codes of a list of M same-size views, (B, M, D); one pass, so batch-norm sees all of them."""
        codes = self.encoder(torch.cat(images))
        return codes.view(len(images), -1, codes.shape[1]).transpose(0, 1)

    def target(self, images: Tensor) -> Tensor:
        """The code to predict, (B, D).

        Every teacher normalises by the statistics of the target views themselves (in training mode),
        and only the ema teacher keeps running statistics of them.
        """
        if self.teacher is not None:
            with torch.no_grad():
                return self.teacher(images)
        if self.objective.teacher == "shared":
            return self._encode_untracked(images)
        with torch.no_grad():
            return self._encode_untracked(images)

    def _encode_untracked(self, images: Tensor) -> Tensor:
        norms = [module for module in self.encoder.modules() if isinstance(module, GlobalBatchNorm)]
        for norm in norms:
            norm.track = False
        try:
            return self.encoder(images)
        finally:
            for norm in norms:
                norm.track = True

    def _rates(self, z: Tensor, z_agg: Tensor) -> dict[str, Rate]:
        on = self.objective.rate.on
        features = {"agg": z_agg, "z": z.flatten(0, 1)}
        return {name: self.rate(features[name]) for name in (("agg", "z") if on == "both" else (on,))}

    @torch.no_grad()
    def after_step(self, step: int, horizon: int) -> None:
        """Move the teacher after optimiser step ``step`` (counted from 0). Buffers are not averaged."""
        if self.teacher is not None:
            tau = ema_decay(self.objective.ema, step, horizon)
            torch._foreach_lerp_(list(self.teacher.parameters()), list(self.encoder.parameters()), 1 - tau)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Trained parameters; matrices and filters are decayed, norms, biases and tokens are not."""
        trained = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        decayed = [p for name, p in trained if p.squeeze().ndim >= 2]
        rest = [p for name, p in trained if p.squeeze().ndim < 2]
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


class ActionEmbedding(nn.Module):
    """Linear without bias, then batch-norm without gain, over the true actions of the batch in one pass.

    The empty slot of the last token is added after it, so zeros never dilute the statistics.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = GlobalBatchNorm(outputs, affine=False)

    def forward(self, actions: Tensor) -> Tensor:
        """(B, M, A) to (B, M, E)."""
        return self.norm(self.linear(actions.flatten(0, 1))).view(*actions.shape[:2], -1)


class Aggregator(nn.Module):
    """Post-norm transformer over [AGG] and the view tokens, and one more layer-norm (paper A.1).

    No positional encoding: order enters through the actions and the empty last slot.
    """

    def __init__(self, config: RunConfig, width: int):
        super().__init__()
        model = config.model
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, model.heads, int(width * model.ffn_ratio), model.dropout, batch_first=True)
            for _ in range(model.layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Tensor, actions: Tensor) -> Tensor:
        """Codes (B, M, D) and the embedded actions between them (B, M-1, E) to the aggregate (B, D+E)."""
        # pad appends the last view's empty slot
        tokens = torch.cat([z, F.pad(actions, (0, 0, 0, 1))], dim=2)
        x = torch.cat([self.token.expand(len(z), -1, -1).to(tokens.dtype), tokens], dim=1)
        *layers, last = self.layers
        for layer in layers:
            x = layer(x)
        return self.norm(_first_token(last, x))


def _first_token(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    """``layer(x)[:, 0]`` without computing the other tokens, which nothing reads after the last layer."""
    first = x[:, :1]
    first = layer.norm1(first + layer.dropout1(layer.self_attn(first, x, x, need_weights=False)[0]))
    hidden = layer.linear2(layer.dropout(layer.activation(layer.linear1(first))))
    return layer.norm2(first + layer.dropout2(hidden))[:, 0]


def _predictor(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    if hidden == 0:
        return nn.Sequential(nn.Linear(inputs, outputs), GlobalBatchNorm(outputs))
    return nn.Sequential(nn.Linear(inputs, hidden, bias=False), GlobalBatchNorm(hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _wide(x: Tensor) -> Tensor:
    """At least fp32: a cosine near 1 has no digits left in half precision."""
    return x if x.dtype == torch.float64 else x.float()


def ema_decay(config: EmaConfig, step: int, horizon: int) -> float:
    """tau of the update after ``step`` (from 0) of ``horizon`` steps.

    From a half-life of h horizons, tau = 2^(-1/(h T)); annealed as in BYOL (arXiv 2006.07733):
    1 - (1 - tau)(cos(pi step/T) + 1)/2.
    """
    tau = config.decay if config.decay is not None else 2 ** (-1 / (config.half_life * horizon))
    return 1 - (1 - tau) * (math.cos(math.pi * step / horizon) + 1) / 2 if config.anneal else tau
