"""How much is computed, for a plan's estimate."""

from __future__ import annotations

from trainer.config.mixture import channels
from trainer.config.vit import stack_macs
from trainer.families.h_jepa.config import HJEPAConfig, block_size


def epoch_macs(config: HJEPAConfig) -> float:
    """Multiply-adds of an epoch's training; a backward pass costs twice the forward one, and the target has none."""
    model, data, vit = config.model, config.data, config.model.encoder.vit
    width, grid, masks = model.encoder.width, config.grid, model.masks
    patches = grid * grid
    # about: blocks overlap, and a batch shows what its smallest context has
    shown = int(0.4 * patches)
    embed = patches * vit.patch**2 * channels(data) * width
    passes = 1 if config.objective.teacher != "shared" else 3
    work = passes * (embed + stack_macs(patches, width, vit.depth, vit.mlp_ratio))
    work += 3 * (embed + stack_macs(shown, width, vit.depth, vit.mlp_ratio))
    narrow = model.predictor
    if model.fpn is not None:
        work += 3 * stack_macs(patches, narrow.width, narrow.depth, vit.mlp_ratio)
        work += 4 * 4 / 3 * patches * model.fpn.width * (width + 9 * model.fpn.width)
    else:
        for level in range(model.levels):
            side = -(-grid // 2**level)
            scale = tuple(min(1.0, share * 2**level) for share in masks.target_scale)
            high, wide = block_size(0.5, side, scale, masks.aspect, side)
            asked = stack_macs(shown + high * wide, narrow.width, narrow.depth, vit.mlp_ratio)
            work += 3 * masks.targets * asked
    work *= data.standard.views
    if local := data.standard.locals:
        work += 3 * local.count * stack_macs((local.side // vit.patch) ** 2, width, vit.depth, vit.mlp_ratio)
    return config.images_per_epoch * work
