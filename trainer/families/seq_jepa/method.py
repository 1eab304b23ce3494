"""seq-JEPA (arXiv 2505.03176): predict a view's code from the views before it and the action to it.

z_i   = f(x_i)                               encoder code, equivariant
z_agg = g([AGG], [z_1; e(a_1)], ..., [z_M; 0])      aggregate, invariant
zhat  = h([z_agg; e(a_M)])                   prediction of the target view's code
loss  = weights.predict * mean(1 - cos(zhat, target)) + weights.rate * (-rate) + control regularisers
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.blocks.faces import make_aggregator, make_encoder, make_predictor
from trainer.config import REGULARISERS
from trainer.families.seq_jepa.action_embedding import ActionEmbedding
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.target import TargetBranch, ema_decay, pooled
from trainer.losses.prediction import SharpenedLoss, cosine_distance
from trainer.losses.term import make_regulariser, regularise
from trainer.method import Group, Method, Output, decayed
from trainer.source import Batch


class SeqJEPA(Method):
    """The method: modules, target branch and loss terms.

    Args:
        channels: image channels.
        action_dim: components of an action.
    """

    def __init__(self, config: SeqJEPAConfig, channels: int, action_dim: int):
        super().__init__()
        model, objective = config.model, config.objective
        self._config, self.objective = config, objective
        self.weights = objective.weights.model_dump()
        self.encoder = make_encoder(model.encoder, channels)
        width = self.encoder.features
        differences = config.data.transform in ("augment", "glimpse")
        self.action = ActionEmbedding(action_dim, model.action_dim, model.action_norm, differences)
        self.aggregator = make_aggregator(model)
        # several workers wait for the gradient of every trained parameter: one that nobody reads must not be trained
        self.action.requires_grad_(model.condition != "none")
        self.told_predictor = model.condition in ("both", "predictor")
        action = model.action_dim if self.told_predictor else 0
        self.predictor = make_predictor(model, self.aggregator.width, action, width)
        # without a weight the rate is still measured, the controls are absent
        settings = {name: getattr(objective, name) for name in REGULARISERS if getattr(objective, name) is not None}
        self.regularisers = nn.ModuleDict(
            {name: make_regulariser(name, one, config.seed) for name, one in settings.items()}
        )
        self.sharpened = SharpenedLoss(objective.sharpen, width) if objective.sharpen else None
        # last, so that teachers share every random number of initialisation
        self.target_branch = TargetBranch(objective, self.encoder)

    def forward(self, batch: Batch) -> Output:
        if self.objective.symmetric:
            z, z_agg, predict, regularised = self._both_directions(batch)
        else:
            z = self.encode(batch["observed"])
            actions = self.action(batch["actions"])
            z_agg = self.aggregator(z, actions[:, :-1])
            # of a batch with replayed rows, which ones each kind of term takes
            predicted, spread = batch.get("into", (slice(None), slice(None)))
            predict = self.prediction_loss(z_agg[predicted], actions[predicted, -1], batch["target"][0][predicted])
            regularised = {"agg": [z_agg[spread]], "z": [z[spread].flatten(0, 1)]}
        terms = {"predict": predict}
        health = {f"{name}/agg": value for name, value in self.aggregator.health().items()}
        for name, regulariser in self.regularisers.items():
            features = {one: regularised[one] for one in _features(getattr(self.objective, name).on)}
            term = regularise(regulariser, features, batch.get("step"))
            terms[name] = term.value
            health |= term.health
        return Output(terms, {"z": z.detach(), "z_agg": z_agg.detach()}, health)

    def _both_directions(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, dict[str, list[Tensor]]]:
        """Predict the target from the views before it, and the first view from the others in reverse order.

        Every view is observed in one direction, so all M+1 pass through the encoder together.
        """
        everything = self.encode([*batch["observed"], *batch["target"]])
        count = len(batch["actions"])
        actions = self.action(torch.cat([batch["actions"], batch["reversed_actions"]]))
        sequences = torch.cat([everything[:, :-1], everything.flip(1)[:, :-1]])
        aggregates = self.aggregator(sequences, actions[:, :-1])
        forward, backward = aggregates.split(count)
        last = actions[:, -1].split(count)
        predictions = [self.predict(z_agg, action) for z_agg, action in zip((forward, backward), last, strict=True)]
        goals = [self.target(end) for end in (batch["target"][0], batch["observed"][0])]
        # one loss over both, so that a centre of targets moves once per step
        predict = self._distance(torch.cat(predictions), torch.cat(goals))
        regularised = {"agg": [forward, backward], "z": [everything.flatten(0, 1)]}
        return everything[:, :-1], forward, predict, regularised

    def prediction_loss(self, z_agg: Tensor, action: Tensor, target: Tensor) -> Tensor:
        """Mean distance between the predicted and the target branch's code of the target view.

        Args:
            z_agg: (B, T); action: (B, E) embedded action to the target; target: (B, C, H, W) images.
        """
        return self._distance(self.predict(z_agg, action), self.target(target))

    def _distance(self, prediction: Tensor, goal: Tensor) -> Tensor:
        return cosine_distance(prediction, goal) if self.sharpened is None else self.sharpened(prediction, goal)

    def predict(self, z_agg: Tensor, action: Tensor) -> Tensor:
        """(B, D) predicted code."""
        return self.predictor(torch.cat([z_agg, action], dim=1) if self.told_predictor else z_agg)

    def encode(self, images: list[Tensor]) -> Tensor:
        """Codes of a list of M same-size views, (B, M, D); one pass, so batch-norm sees all of them."""
        codes = pooled(self.encoder, torch.cat(images))
        return codes.view(len(images), -1, codes.shape[1]).transpose(0, 1)

    def target(self, images: Tensor) -> Tensor:
        """The code to predict, (B, D) (see :mod:`trainer.families.seq_jepa.target`)."""
        return self.target_branch(self.encoder, images)

    def schedule(self, step: int) -> dict[str, float | None]:
        """The teacher's decay after optimiser step ``step``; None without a moving-average teacher."""
        config, ema = self._config, self.objective.ema
        return {"ema_decay": ema_decay(ema, step, config.horizon_steps, config.steps_per_epoch) if ema else None}

    def after_step(self, scalars: Mapping[str, float | Tensor]) -> None:
        if "ema_decay" in scalars:
            self.target_branch.follow(self.encoder, scalars["ema_decay"])

    def parameter_groups(self) -> list[Group]:
        """Matrices and filters are decayed, norms, biases and tokens only with ``optim.decay_on=all``."""
        optim = self._config.optim
        return decayed(self, optim.weight_decay, optim.decay_on == "all", self.aggregator.no_decay)


def _features(on: str) -> tuple[str, ...]:
    return ("agg", "z") if on == "both" else (on,)
