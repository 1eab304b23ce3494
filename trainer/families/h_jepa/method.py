"""H-JEPA: predict hidden parts of an image from what is shown of it, at several levels at once.

context = f(image, shown patches)                      hidden patches are never computed
goal_l  = norm(level_l(f_target(image)))               all patches; f_target follows f as a moving average
loss    = sum_l weight_l * SmoothL1(g(context, places of level l), goal_l) + regularisers of the pooled context

With one level this is I-JEPA (arXiv 2301.08243). With a feature pyramid the predicted patches and the shown ones form
one map, whose pyramid is compared with that of the target. Nothing on the target branch is trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.blocks.faces import make_encoder
from trainer.blocks.norm import GlobalBatchNorm
from trainer.blocks.positions import grid_places
from trainer.config import REGULARISERS
from trainer.config.paired import PAIRED
from trainer.config.parts import implementation
from trainer.families.h_jepa import small_crops
from trainer.families.h_jepa.config import SPREADING, HJEPAConfig
from trainer.families.h_jepa.distance import distances, mean_valid
from trainer.families.h_jepa.levels import Pyramid, as_map, as_tokens, pooled_maps
from trainer.families.h_jepa.masks import Masks, level_places
from trainer.families.h_jepa.predictor import Predictor
from trainer.losses.term import make_regulariser, regularise
from trainer.method import Group, Method, Output, decayed
from trainer.source import Batch


class Branch(nn.Module):
    """An encoder and its pyramid, if there is one: what the target follows."""

    def __init__(self, config: HJEPAConfig, channels: int):
        super().__init__()
        model = config.model
        self.encoder = make_encoder(model.encoder, channels)
        self.levels = model.levels
        used = [weight > 0 for weight in config.objective.level_weights]
        self.pyramid = Pyramid(model.fpn, self.encoder.features, used) if model.fpn else None

    def maps(self, tokens: Tensor) -> list[Tensor]:
        """(B, g^2, D) tokens of a whole grid to the tokens of each level (B, g_l^2, W)."""
        maps = pooled_maps(as_map(tokens), self.levels)
        return [as_tokens(one) for one in (maps if self.pyramid is None else self.pyramid(maps))]


class HJEPA(Method):
    """The method: modules, target branch and loss terms.

    Args:
        channels: image channels.
    """

    def __init__(self, config: HJEPAConfig, channels: int):
        super().__init__()
        model, objective = config.model, config.objective
        self._config, self.objective = config, objective
        weights = {name: value for name, value in objective.weights.model_dump().items() if value is not None}
        self.weights = {f"level{level}": weight for level, weight in enumerate(objective.level_weights)} | weights
        self.online = Branch(config, channels)
        width, cross = self.encoder.features, objective.locals == "cross_crop"
        self.predictor = Predictor(model.predictor, model.encoder.vit, width, model.levels, cross)
        self.projector = _projector(width, model.projector) if model.projector else None
        self.regularisers = nn.ModuleDict(
            {
                name: _make(name, getattr(objective, name), config.seed)
                for name in SPREADING
                if getattr(objective, name) is not None
            }
        )
        # last, and a copy: the target starts where the encoder does, and takes no random number from it
        self.average = copy.deepcopy(self.online).requires_grad_(False) if objective.teacher == "ema" else None

    @property
    def encoder(self) -> nn.Module:
        return self.online.encoder

    @property
    def target(self) -> Branch:
        """The target branch; measured, too."""
        return self.online if self.average is None else self.average

    def train(self, mode: bool = True) -> HJEPA:
        """As always, but a moving average never drops anything."""
        super().train(mode)
        if self.average is not None:
            self.average.eval()
        return self

    def forward(self, batch: Batch) -> Output:
        terms: dict[str, list[Tensor]] = {}
        pooled, tokens = [], []
        crops = small_crops.encoded(self.encoder, batch) if batch["locals"] else None
        for number, (view, masks) in enumerate(zip(batch["views"], batch["masks"], strict=True)):
            context = self.encoder.tokens(view, masks.shown)
            pooled.append(context.mean(1))
            tokens.append(context)
            goals, whole = self._goals(view)
            near = None
            if crops is not None:
                near = crops, small_crops.in_frame(batch, number, self._grid, self.encoder.patch)
            joined = near if self.objective.locals == "local_context" else None
            for level, loss in self._levels(context, masks, goals, joined).items():
                terms.setdefault(level, []).append(loss)
            if self.objective.locals == "cross_crop":
                terms.setdefault("cross", []).append(self._cross(*near, whole))
        found = {name: torch.stack(parts).mean() for name, parts in terms.items()}
        spread, health = self._regularised(pooled, tokens, batch["step"])
        mean = torch.cat(pooled).detach()
        health |= {"std_over_images/z_agg": mean.float().std(0).mean()}
        return Output(found | spread, {"z_agg": pooled[0].detach()}, health)

    def of_levels(self, images: Tensor, masks: Masks) -> dict[str, Tensor]:
        """The levels' losses of (B, C, S, S) images alone."""
        return self._levels(self.encoder.tokens(images, masks.shown), masks, self._goals(images)[0], None)

    @property
    def _grid(self) -> int:
        return self._config.grid

    def _goals(self, view: Tensor) -> tuple[list[Tensor], Tensor]:
        """The target's tokens of each level, and its mean token (B, D)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.objective.teacher == "shared"):
            tokens = self.target.encoder.tokens(view)
            return self.target.maps(tokens), tokens.mean(1)

    def _levels(
        self, context: Tensor, masks: Masks, goals: list[Tensor], near: tuple[Tensor, Tensor] | None
    ) -> dict[str, Tensor]:
        """The distance at each level that has a weight."""
        stack, grid = self.predictor.stack, self._grid
        places = grid_places(grid, context.device)
        at = stack.placing(places, context.dtype).of(masks.shown)
        seen = context
        if near is not None:
            tokens, where = (one.flatten(1, 2) for one in near)
            seen, at = torch.cat([context, tokens], 1), at.before(stack.placing(where, context.dtype))
        wanted = [level for level, weight in enumerate(self.objective.level_weights) if weight]
        if self.online.pyramid is not None:
            return self._by_pyramid(seen, at, context, masks, goals, wanted)
        found = {}
        for level in wanted:
            one = masks.levels[level]
            asked = stack.placing(level_places(grid, level, context.device), context.dtype).of(one.cells)
            predicted = self.predictor(seen, at, asked, one.cells.shape[2], level)
            goal = goals[level].gather(1, one.cells.flatten(1)[..., None].expand(-1, -1, goals[level].shape[2]))
            each = self._distance(predicted, goal.view(predicted.shape))
            found[f"level{level}"] = mean_valid(each, one.valid, one.count)
        return found

    def _by_pyramid(
        self, seen: Tensor, at: object, context: Tensor, masks: Masks, goals: list[Tensor], wanted: list[int]
    ) -> dict[str, Tensor]:
        """Shown tokens and predictions of all others form one map; its pyramid is compared at hidden cells."""
        stack, hidden = self.predictor.stack, masks.left_out
        placing = stack.placing(grid_places(self._grid, context.device), context.dtype)
        filled = self.predictor(seen, at, placing.of(hidden[:, None]), hidden.shape[1])[:, 0]
        order = torch.cat([masks.shown, hidden], 1).argsort(1)
        dense = torch.cat([context, filled.to(context.dtype)], 1)
        maps = self.online.maps(dense.gather(1, order[..., None].expand(-1, -1, dense.shape[2])))
        found = {}
        for level in wanted:
            one = masks.levels[level]
            found[f"level{level}"] = mean_valid(self._distance(maps[level], goals[level]), one.hidden, one.hidden_count)
        return found

    def _cross(self, crops: Tensor, places: Tensor, whole: Tensor) -> Tensor:
        """Distance of a view as a whole, its mean token (B, D), from what each small crop (B, L, n, D) at its places
        (B, L, n, 2) says of it."""
        stack, count = self.predictor.stack, crops.shape[1]
        at = stack.placing(places.flatten(0, 1), crops.dtype)
        centre = torch.full((1, 1, 2), (self._grid - 1) / 2, device=crops.device)
        asked = stack.placing(centre, crops.dtype)
        predicted = self.predictor(crops.flatten(0, 1), at, asked, 1, whole=True)[:, 0, 0]
        return self._distance(predicted, whole.repeat_interleave(count, 0)).mean()

    def _distance(self, predicted: Tensor, goal: Tensor) -> Tensor:
        return distances(predicted, goal, self.objective.normalise, self.objective.beta)

    def _regularised(
        self, pooled: list[Tensor], tokens: list[Tensor], step: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if not self.regularisers:
            return {}, {}
        views = [one if self.projector is None else self.projector(one) for one in pooled]
        parts = {"agg": views, "z": [one.flatten(0, 1) for one in tokens]}
        terms, health = {}, {}
        for name, regulariser in self.regularisers.items():
            settings = getattr(self.objective, name)
            if name in PAIRED:
                term = regulariser(torch.stack(views), step)
                term = type(term)(term.value, {f"{one}/agg": value for one, value in term.health.items()})
            else:
                on = ("agg", "z") if settings.on == "both" else (settings.on,)
                term = regularise(regulariser, {one: parts[one] for one in on}, step)
            terms[name] = term.value
            health |= term.health
        return terms, health

    def schedule(self, step: int) -> dict[str, float | None]:
        """The target's decay after optimiser step ``step``; None without a moving average."""
        ema = self.objective.ema
        return {"ema_decay": ema.at(step, self._config.horizon_steps) if ema else None}

    @torch.no_grad()
    def after_step(self, scalars: Mapping[str, float | Tensor]) -> None:
        if "ema_decay" in scalars:
            decay = scalars["ema_decay"]
            for mine, theirs in zip(self.average.parameters(), self.online.parameters(), strict=True):
                mine.lerp_(theirs, 1 - decay)
            for mine, theirs in zip(self.average.buffers(), self.online.buffers(), strict=True):
                mine.copy_(theirs)

    def parameter_groups(self) -> list[Group]:
        """Matrices and filters are decayed; norms, biases, gains and queries only with ``optim.decay_on=all``."""
        optim = self._config.optim
        return decayed(self, optim.weight_decay, optim.decay_on == "all", self.predictor.vectors)


def _make(name: str, settings: object, seed: int) -> nn.Module:
    if name in REGULARISERS:
        return make_regulariser(name, settings, seed)
    return implementation(PAIRED[name].implementation)(settings, seed)


def _projector(inputs: int, config: object) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, config.hidden, bias=False),
        GlobalBatchNorm(config.hidden),
        nn.ReLU(),
        nn.Linear(config.hidden, config.width),
    )
