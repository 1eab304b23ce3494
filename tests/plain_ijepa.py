"""I-JEPA written plainly, with its reference's names of weights: the recorded outputs of that are compared with it, and
it with the family as a whole."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def encoder(w: Weights, images: Tensor, keep: Tensor | None, heads: int) -> Tensor:
    """(B, n, D) tokens of all patches, or of those kept (B, n)."""
    filters = w["patch_embed.proj.weight"]
    x = F.conv2d(images, filters, w["patch_embed.proj.bias"], stride=filters.shape[-1]).flatten(2).transpose(1, 2)
    x = x + w["pos_embed"]
    return _blocks(w, "", x if keep is None else _chosen(x, keep), heads)


def predictor(w: Weights, x: Tensor, keep: Tensor, blocks: list[Tensor], heads: int) -> Tensor:
    """(M B, n, D): the patches of each target block, block after block, from the context's tokens."""
    places = w["predictor_pos_embed"].expand(len(x), -1, -1)
    x = _linear(w, "predictor_embed", x) + _chosen(places, keep)
    found = []
    for block in blocks:
        asked = w["mask_token"] + _chosen(places, block)
        y = _blocks(w, "predictor_", torch.cat([x, asked], 1), heads)
        found.append(_linear(w, "predictor_proj", y[:, -block.shape[1] :]))
    return torch.cat(found)


def loss(z: Tensor, h: Tensor, blocks: list[Tensor]) -> Tensor:
    """Of predictions (M B, n, D) from the target's tokens (B, N, D)."""
    h = F.layer_norm(h, h.shape[-1:])
    return F.smooth_l1_loss(z, torch.cat([_chosen(h, block) for block in blocks]))


def _chosen(x: Tensor, index: Tensor) -> Tensor:
    return torch.stack([row[places] for row, places in zip(x, index, strict=True)])


def _linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def _norm(w: Weights, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def _blocks(w: Weights, prefix: str, x: Tensor, heads: int) -> Tensor:
    number = 0
    while f"{prefix}blocks.{number}.norm1.weight" in w:
        name = f"{prefix}blocks.{number}"
        parts = _linear(w, f"{name}.attn.qkv", _norm(w, f"{name}.norm1", x)).unflatten(2, (3, heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        share = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5).softmax(-1)
        x = x + _linear(w, f"{name}.attn.proj", (share @ value).transpose(1, 2).flatten(2))
        hidden = F.gelu(_linear(w, f"{name}.mlp.fc1", _norm(w, f"{name}.norm2", x)))
        x = x + _linear(w, f"{name}.mlp.fc2", hidden)
        number += 1
    return _norm(w, f"{prefix}norm", x)
