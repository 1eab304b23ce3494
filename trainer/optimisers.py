"""Adam and AdamW that do not import torch's compiler, which takes as long as torch: no optimiser is compiled here.

torch imports it only to keep it out of an optimiser's functions. ``tests/test_studies.py`` says if a newer torch finds
another way to it.
"""

from __future__ import annotations

import inspect

import torch
from torch.optim import Optimizer
from torch.optim.adam import adam

for _decorated in (
    Optimizer.add_param_group, Optimizer.zero_grad, Optimizer.state_dict, Optimizer.load_state_dict,
    adam,
):  # fmt: skip
    _plain = inspect.unwrap(_decorated)
    _plain.__dynamo_disable = _plain  # where torch notes a function that its compiler was kept out of
_step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class Adam(torch.optim.Adam):
    step = _step


class AdamW(torch.optim.AdamW):
    step = _step


OPTIMISERS = {"adamw": AdamW, "adam": Adam}
"""By ``optim.name``, made as ``(groups, lr, betas, fused)``."""
