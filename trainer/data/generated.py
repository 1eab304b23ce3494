"""Made-up images of a data set's published shape and count, for timing and rehearsals (``data.generated=true``)."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.config import SETS, RunConfig, split_sizes
from trainer.data.philox import Purpose, derived_seed
from trainer.data.row_chunks import row_chunks
from trainer.data.sets.raw import RawSet
from trainer.data.store import MappedImages

PER_CLASS = 2
"""Images per class that are made of a set too large for memory; it repeats them."""


def generate(config: RunConfig) -> RawSet:
    """Noise over a smooth pattern per class, of the configured set's shape and size.

    A set above ``runtime.resident_mib`` takes no more memory than a few images of each class: these are repeated, and
    read as shards are.
    """
    facts = SETS[config.data.name]
    train, validation, test, unlabelled = split_sizes(config.data)
    count, side = train + validation + unlabelled + test, facts.side
    fits = count * facts.views * facts.channels * side * side <= config.runtime.resident_mib * 2**20
    made = count if fits else min(count, PER_CLASS * facts.classes)
    generator = torch.Generator().manual_seed(derived_seed(0, Purpose.INIT))
    labels = torch.arange(count) % facts.classes
    pattern = torch.randint(0, 160, (facts.classes, facts.channels, 4, 4), generator=generator, dtype=torch.uint8)
    grown = torch.nn.functional.interpolate(pattern.float(), size=side, mode="bilinear").to(torch.uint8)
    images = torch.randint(
        0, 96, (made, facts.views, facts.channels, side, side), generator=generator, dtype=torch.uint8
    )
    for rows in row_chunks(torch.arange(made), 1024):
        images[rows[0] : rows[-1] + 1] += grown[labels[rows]][:, None]
    if unlabelled:
        labels[:unlabelled] = -1
    extras: dict[str, Tensor] = {}
    if facts.views > 1:
        turn = torch.randn(count, facts.views, 4, generator=generator)
        extras = {
            "quaternion": turn / turn.norm(dim=-1, keepdim=True),
            "hue": torch.rand(count, facts.views, generator=generator),
        }
    else:
        images = images[:, 0]
    if fits:
        return RawSet(images, labels, test, extras)
    bank = images.numpy()
    whole, rest = divmod(count, made)
    return RawSet(MappedImages([bank] * whole + ([bank[:rest]] if rest else [])), labels, test, extras)
