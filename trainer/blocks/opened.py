"""White-box layers as they work, for who measures them; training never comes here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from trainer.blocks.white_box import Opened, WhiteBoxBlock


def white_box_blocks(part: nn.Module) -> list[WhiteBoxBlock]:
    """Those of an encoder, an aggregator or a predictor, in the order in which tokens meet them; there may be none."""
    return [module for module in part.modules() if isinstance(module, WhiteBoxBlock)]


@contextmanager
def watched(part: nn.Module, see: Callable[[int, Opened], None]) -> Iterator[None]:
    """While it lasts, ``see(number, layer)`` is told what every layer of the part is given, in each forward pass."""

    def hook(number: int) -> Callable[[WhiteBoxBlock, tuple[Any, ...]], None]:
        return lambda block, given: see(number, block.opened(*given))

    handles = [block.register_forward_pre_hook(hook(i)) for i, block in enumerate(white_box_blocks(part))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
