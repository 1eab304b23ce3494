"""seq-JEPA with local losses: beside the main loss, in the encoder alone, or in the aggregator of a frozen encoder.

Of a block's loss the gradient is taken as soon as the block is computed (:func:`trainer.losses.ahead.ahead`), to the
block's own parameters; in a local encoder nothing of the block is kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainer.blocks.decorrelated import decorrelate
from trainer.blocks.tokens import view_tokens
from trainer.data.row_chunks import joined_chunks
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.local.rule import Head, LocalRule, RidgeHead, pooled
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.losses.ahead import ahead
from trainer.method import Group, Output
from trainer.source import Batch

KEPT = 256
"""Sequences whose codes are computed at a time."""


class LocalJEPA(SeqJEPA):
    """The method; ``source`` gives the sequences whose codes are kept.

    Attributes:
        rules: of the blocks in their order; of the aggregator's in stage ``aggregator``.
    """

    def __init__(self, config: SeqJEPAConfig, channels: int, source: Any):
        super().__init__(config, channels, source.action_dim)
        local = config.objective.local
        self.local, self.weights["local"] = local, local.weight
        self.register_buffer("frozen", torch.zeros((), dtype=torch.bool))
        self._losses: list[Tensor] = []
        self._firsts: list[tuple[Tensor, list[nn.Parameter]]] = []
        self._actions: Tensor | None = None
        if local.stage == "aggregator":
            told = config.model.action_dim if local.rule == "action_lpl" and config.model.condition != "none" else 0
            width, outputs = self.aggregator.width, self.encoder.features
            head = RidgeHead if local.readout == "ridge" else Head
            self.rules = nn.ModuleList(head(width, told, outputs) for _ in self.aggregator.layers)
            # a plain function is not copied with the model, and a copy must not copy the images
            self._source: Callable[[], Any] = lambda: source
            self._known: tuple[Tensor, Tensor] | None = None
            return
        if local.whiten:
            for network in (self.encoder, self.target_branch.average):
                for stage in network.stages()[1:] if network is not None else ():
                    decorrelate(network, stage, local.whiten)
        widths = _widths(self.encoder)
        self.rules = nn.ModuleList(LocalRule(local, width, source.action_dim) for width in widths)

    # --- the encoder

    def encode(self, images: list[Tensor]) -> Tensor:
        if images[0].ndim == 2:  # codes already
            return torch.stack(images, 1)
        if self.local.stage == "aggregator":
            if not self.frozen:
                return super().encode(images)
            before = self.encoder.training
            self.encoder.eval()
            try:
                with torch.no_grad():
                    return super().encode(images)
            finally:
                self.encoder.train(before)
        x, learns = torch.cat(images), self._actions is not None
        for stage, rule in zip(self.encoder.stages(), self.rules, strict=True):
            x = stage(x.detach() if self.local.stage == "encoder" else x)
            if learns:
                self._losses.append(self._block_loss(x, stage, rule, len(images)))
            if self.local.stage == "encoder":
                x = x.detach()
        codes = x.flatten(2).mean(2)
        return codes.view(len(images), -1, codes.shape[1]).transpose(0, 1)

    def _block_loss(self, x: Tensor, stage: nn.Module, rule: LocalRule, views: int) -> Tensor:
        between = self._actions[:, : views - 1].transpose(0, 1)
        loss = rule(pooled(x, views), between)
        if self.local.stage == "auxiliary" and not self.local.detach_between:
            return loss
        own = [*stage.parameters(), *rule.parameters()]
        return ahead(loss, own, keep=self.local.stage == "auxiliary", most=self.local.clip_norm)

    # --- a step

    def forward(self, batch: Batch) -> Output:
        if self.local.stage == "aggregator":
            return self._of_aggregator(batch)
        self._losses, self._actions = [], batch["actions"]
        try:
            output = super().forward(batch)
            return self._with(output, self._losses)
        finally:
            self._losses, self._actions = [], None

    def _with(self, output: Output, losses: list[Tensor]) -> Output:
        output.terms["local"] = torch.stack(losses).sum() if losses else output.terms["predict"].new_zeros(())
        output.health |= {f"local/block{i}": loss.detach() for i, loss in enumerate(losses, start=1)}
        return output

    def _of_aggregator(self, batch: Batch) -> Output:
        if not self.frozen:
            output = self._with(super().forward(batch), [])
            output.health |= {
                f"local/block{i}": output.terms["predict"].new_zeros(()) for i in range(1, len(self.rules) + 1)
            }
            return output
        if self.local.cached:
            batch = self._looked_up(batch)
        original, self._firsts = self.aggregator.forward, []
        # the main terms read the last block, and end there
        self.aggregator.forward = self._blockwise  # type: ignore[method-assign]
        try:
            output = super().forward(batch)
            return self._with(output, self._losses)
        finally:
            self.aggregator.forward = original  # type: ignore[method-assign]
            self._firsts, self._losses = [], []

    def target(self, images: Tensor) -> Tensor:
        return images if images.ndim == 2 else super().target(images)

    def _looked_up(self, batch: Batch) -> Batch:
        """The batch with codes in the place of views."""
        if self._known is None:
            # chunk by chunk in their order, whatever comes first: a resumed run finds the same bits
            with torch.no_grad():
                source = self._source()
                found = ((self.encode(b["observed"]), self.target(b["target"][0])) for b in source.again(KEPT))
                self._known = tuple(joined_chunks(found, source.sequences))
            source.unseen = True
        codes, goals = (kept[batch["draw"]] for kept in self._known)
        return {**batch, "observed": list(codes.unbind(1)), "target": [goals]}

    def _blockwise(self, z: Tensor, between: Tensor) -> Tensor:
        """The aggregate, with the gradient cut before every block but the first; keeps what each block's head reads."""
        aggregator = self.aggregator
        tokens = view_tokens(z, between.detach(), aggregator.conditioned, aggregator.time)
        first = [aggregator.token, *(aggregator.time.parameters() if aggregator.time is not None else ())]
        x = torch.cat([aggregator.token.expand(len(z), -1, -1).to(tokens.dtype), tokens], dim=1)
        for number, layer in enumerate(aggregator.layers):
            x = layer(x.detach() if number else x)
            own = [*layer.parameters(), *(() if number else first)]
            self._firsts.append((x[:, 0], own))
        return aggregator.norm(x[:, 0])

    def prediction_loss(self, z_agg: Tensor, action: Tensor, target: Tensor) -> Tensor:
        if not self._firsts:
            return super().prediction_loss(z_agg, action, target)
        goal = self.target(target).detach()
        self._losses = [
            ahead(head(token, action.detach(), goal), [*own, *head.parameters()], keep=True)
            for (token, own), head in zip(self._firsts, self.rules, strict=True)
        ]
        return self._distance(self.predict(z_agg, action), goal)

    def schedule(self, step: int) -> dict[str, float | None]:
        scalars = super().schedule(step)
        if self.local.stage != "aggregator":
            return scalars
        ends = step + 1 == self.local.warm_epochs * self._config.steps_per_epoch
        return {**scalars, "encoder_freezes": 1.0 if ends else None}

    def after_step(self, scalars: Mapping[str, float | Tensor]) -> None:
        if not self.frozen:
            super().after_step(scalars)
        if "encoder_freezes" in scalars:
            self.frozen.fill_(True)

    def parameter_groups(self) -> list[Group]:
        groups, local = super().parameter_groups(), self.local
        if local.lr_scale is None:
            return groups
        owners = {
            id(p): number
            for number, (stage, rule) in enumerate(zip(self.encoder.stages(), self.rules, strict=True))
            for p in (*stage.parameters(), *rule.parameters())
        }
        rest = [Group([p for p in g.params if id(p) not in owners], g.weight_decay) for g in groups]
        for number, scale in enumerate(local.lr_scale):
            for group in groups:
                mine = [p for p in group.params if owners.get(id(p)) == number]
                rest.append(Group(mine, group.weight_decay, scale))
        return rest


def _widths(encoder: nn.Module) -> list[int]:
    """Channels that each block puts out."""
    found = []
    for stage in encoder.stages():
        *_, last = (
            module for module in stage.modules() if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1)
        )
        found.append(last.out_channels)
    return found
