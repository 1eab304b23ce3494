"""A trained model as its checkpoint holds it, beside its untrained self: for the evaluation, and for scripts of one's
own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from trainer import checkpoint, families, presets
from trainer.certificates import trust_system
from trainer.config import RunConfig
from trainer.data.images import ImageSet, load_images
from trainer.data.philox import Purpose, derived_seed
from trainer.errors import RecordError, UsageError
from trainer.method import Method, Probes
from trainer.record.evaluation import recorded_config
from trainer.record.identity import arm_id
from trainer.runtime import pick_device, pick_dtype
from trainer.source import Source


@dataclass(frozen=True)
class Restored:
    """What a run ended with; the models are in evaluation mode."""

    config: RunConfig
    images: ImageSet
    source: Source
    method: Method
    untrained: Method
    probes: Probes
    device: torch.device


def restored(folder: Path | str, config: RunConfig | None = None) -> Restored:
    """The run of a folder with ``checkpoint.pt`` and ``records.jsonl``.

    Seeds torch's generator, as the run did, and sets its number of threads.

    Args:
        config: default the one on record; another may differ in where it computes and what it measures.

    Raises:
        UsageError: there is no such run, or ``config`` is another arm's.
        RecordError: the checkpoint is damaged, or belongs to another arm than the record.
    """
    folder = Path(folder)
    tree, first = recorded_config(folder)
    recorded = presets.build(tree)
    config = config or recorded
    if arm_id(config) != arm_id(recorded):
        raise UsageError(
            f"{folder}: the configuration given is arm {arm_id(config)}, its own is {arm_id(recorded)}; it may"
            " differ in where it computes and what it measures"
        )
    trust_system(config.runtime.system_certs)
    family, device, dtype = families.load(config.family), pick_device(config), pick_dtype(config)
    torch.set_num_threads(config.runtime.threads)
    state = checkpoint.load(folder, device, first["arm_id"], ("method", "online"))
    if state is None:
        raise RecordError(
            f"{folder}: has no {checkpoint.NAME}; train the run again, or copy it from where it was trained"
        )
    if arm_id(config) != first["arm_id"]:
        raise RecordError(
            f"{folder}: its configuration is arm {arm_id(config)} in this version of the code, but was recorded as "
            f"{first['arm_id']}; evaluate it with the commit that trained it"
        )
    images = load_images(config).to(device, config.runtime.resident_mib)
    source = family.source(config, images, dtype)
    checkpoint.restore(folder, {"views": source}, state)

    # the untrained model is the run's own at step 0: the same random numbers as in training
    torch.manual_seed(derived_seed(config.seed, Purpose.INIT))
    method = family.make(config, source).to(device, dtype, memory_format=torch.channels_last)
    probes = family.probes(config, images, source, method, device)
    untrained = probes.untrained(method)
    checkpoint.restore(folder, {"method": method, "online": probes}, state)
    return Restored(config, images, source, method.eval(), untrained, probes, device)
