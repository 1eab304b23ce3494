"""Multiply-adds of transformer blocks; no torch, as plans ask for it."""

from __future__ import annotations


def stack_macs(tokens: int, width: int, depth: int, mlp_ratio: float) -> float:
    """Of one sequence's forward pass: projections, attention and the two layers behind it."""
    return depth * tokens * width * ((4 + 2 * mlp_ratio) * width + 2 * tokens)
