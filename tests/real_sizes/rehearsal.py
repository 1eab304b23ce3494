"""One preset through everything that its images' number and its batch size decide.

The product's own path: start-up with all probes of the untrained encoder and of pixels, an epoch of a single step of
the real batch, the probes of every epoch and of a rung on all images, the subspace diagnostics, checkpoint, record and
gate; then ``trainer.evaluate`` on one chunk of images and one more. Images are generated and the model is narrow;
nothing else is smaller.
"""

from __future__ import annotations

from argparse import Namespace
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest import mock

import trainer.restored
from trainer import presets
from trainer.config import SETS, RunConfig
from trainer.data.images import ImageSet, load_images
from trainer.evaluate import measure
from trainer.families.seq_jepa.probing.health import CHUNK
from trainer.loop import train
from trainer.record.identity import run_id
from trainer.record.run import read

NARROW = [
    "model.encoder={name: conv, width: 4}", "model.action_dim=8", "model.layers=1", "model.heads=4",
    "model.predictor_hidden=32",
    "eval.probe_epochs=[1]",
]  # fmt: skip


NARROW_OF_FAMILY = {
    "h_jepa": ["model.encoder.width=8", "model.encoder.vit.depth=1", "model.encoder.vit.heads=2",
    "model.predictor={width: 8, depth: 1, heads: 1}", "eval.probe_epochs=[1]"],
}  # fmt: skip


def narrowed(name: str, overrides: list[str] = ()) -> RunConfig:
    """The preset with a small encoder, probed and swept after its first epoch, on generated images of the published
    number."""
    config = presets.load(name)
    words = [*NARROW_OF_FAMILY.get(config.family, NARROW), *overrides]
    if SETS[config.data.name].test_is_published:
        words.append("data.generated=true")
    if hasattr(config.eval, "subspace") and config.eval.subspace.epochs:
        words.append("eval.subspace.epochs=[1]")
    return presets.load(
        name,
        words,
        {"epochs": 1, "runtime.across_commits": True, "runtime.checkpoint_every": 1, "runtime.device": "cpu"},
    )


def rehearse(
    config: RunConfig,
    runs: Path,
    images: ImageSet | None = None,
    baselines: bool = True,
    sweep_again: bool = True,
    evaluated: bool = True,
) -> list[dict]:
    """Train the epoch of one step and evaluate; returns the lines of the run's record and, last, the evaluation's.

    Args:
        images: already loaded.
        baselines: also probe raw pixels, which takes longer than all the rest and does not depend on the preset's
            sizes.
        sweep_again: evaluate subspace diagnostics that training has computed already, at the same sizes.
        evaluated: evaluate at all: on as many images whatever the preset's sizes.
    """
    images = images or load_images(config)
    folder = runs / run_id(config)
    with ExitStack() as changed:
        changed.enter_context(mock.patch.object(RunConfig, "steps_per_epoch", property(lambda run: 1)))
        train(config, runs, images=images, baselines=baselines, gate=next(iter(config.gates), None))
        lines = list(read(folder / "records.jsonl"))
        if not evaluated:
            return lines
        few = replace(images, splits={part: index[: CHUNK + 1] for part, index in images.splits.items()})
        changed.enter_context(mock.patch.object(trainer.restored, "load_images", lambda _: few))
        sweeps = config.data.transform in ("rotation", "affine") or config.data.name == "mini3d"
        if not sweep_again and hasattr(config.eval, "subspace") and config.eval.subspace.epochs:
            sweeps = False
        options = Namespace(
            views=[1, 2, 5], protocol="both", epochs=1, subspace=sweeps, overrides=[], split=config.data.select_on
        )
        lines.append(measure(config, folder, lines[0], options, folder / "evaluation.jsonl"))
    return lines
