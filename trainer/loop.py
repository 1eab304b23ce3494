"""The training loop of every method, read from top to bottom.

Counts steps and samples; an epoch is ``steps_per_epoch`` steps. Knows nothing of Ray: a study passes
``report=`` and gets a dict per epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from trainer import checkpoint, families, placing, world
from trainer.config import RunConfig
from trainer.data.images import ImageSet, load_images
from trainer.data.philox import Purpose, derived_seed
from trainer.errors import UsageError
from trainer.gates import judge
from trainer.method import trained_parameters
from trainer.record.identity import arm_id, provenance, run_id
from trainer.record.writer import RunRecord
from trainer.runtime import card, pick_device, pick_dtype, set_arithmetic
from trainer.step import Learner, Step, distributed, make_optimiser

Report = Callable[[dict[str, Any]], None]


def train(
    config: RunConfig,
    runs: Path,
    study: str = "single",
    *,
    report: Report | None = None,
    gate: str | None = None,
    baselines: bool = False,
    images: ImageSet | None = None,
    wait: bool = False,
) -> dict[str, Any]:
    """Train one run to ``config.epochs``, continuing from its checkpoint if there is one.

    Everything is written to ``runs/<run_id>/``: records.jsonl, checkpoint.pt and subspace-epoch<k>.npz.

    Args:
        report: called on every rank after every epoch (and once on resuming) with the validation metrics
            and ``epoch``, ``probe_epoch``, ``score`` (linear accuracy of the aggregate, percent), on resuming
            also ``repeated``; on ranks other than 0 with an empty dict.
        gate: name of the gate to judge at the end.
        baselines: also fit all probes on the untrained encoder and on raw pixels, at epoch 0.
        images: an already loaded image set.
        wait: while another process trains the run, instead of refusing.

    Returns:
        The last report, with ``stopped`` (the reason) added.

    Raises:
        RecordError: the folder holds a run of other settings.
    """
    record = RunRecord(config, runs / run_id(config), study, wait) if world.rank() == 0 else None
    try:
        return _train(config, runs / run_id(config), record, report, gate, baselines, images)
    except Exception as error:
        if record is not None:
            record.error(error)
        raise
    finally:
        if record is not None:
            record.close()


def _train(
    config: RunConfig,
    folder: Path,
    record: RunRecord | None,
    report: Report | None,
    gate: str | None,
    baselines: bool,
    images: ImageSet | None,
) -> dict[str, Any]:
    # --- what everything stands on
    device, dtype, family = pick_device(config), pick_dtype(config), families.load(config.family)
    torch.set_num_threads(config.runtime.threads)
    set_arithmetic(config, device)
    rank, workers, arm = world.rank(), world.size(), arm_id(config)
    placing.check(config, device.type, workers)
    images = (images or load_images(config)).to(device, config.runtime.resident_mib)
    source = family.source(config, images, dtype, rank, workers)
    if config.runtime.compile and not hasattr(source, "plan"):
        raise UsageError(
            f"runtime.compile = True: the batches of family {config.family} cannot be rendered by a recorded step;"
            " remove it"
        )
    torch.manual_seed(derived_seed(config.seed, Purpose.INIT))
    method = family.make(config, source).to(device, dtype, memory_format=torch.channels_last)
    optimiser = make_optimiser(config, method)
    probes = family.probes(config, images, source, method, device)
    if rank == 0:
        probes.begin(method)
    # by their names in checkpoints
    parts: dict[str, Any] = {"method": method, "optimiser": optimiser, "online": probes, "views": source}

    # --- where it left off
    state = checkpoint.load(folder, device, arm, parts)
    # a checkpoint newer than its record: what is missing is trained again. The first worker's word holds for all: when
    # a slower one looks, the first may have written its first checkpoint
    if world.share_from_first(state is None or (rank == 0 and record.behind(state["views"]["step"]))):
        state = None
    elif state is None:
        raise UsageError(f"{folder}: worker {rank} sees no checkpoint where the first one does; give all one folder")
    else:
        checkpoint.restore(folder, parts, state)
    spe, end = config.steps_per_epoch, config.epochs * config.steps_per_epoch
    probe_epoch = state["probe_epoch"] if state else 0
    last: dict[str, Any] = {}
    if rank == 0:
        if record.has_lines and source.step < end:
            record.resume(source.step, probe_epoch, card(device))
        if state is None:
            clock, core = time.perf_counter(), time.process_time()
            metrics = probes.at_start(method, baselines)
            spent = {
                "seconds": {"probes": time.perf_counter() - clock},
                "core_seconds": {"probes": time.process_time() - core},
            }
            origin = {
                "config": config.model_dump(mode="json"),
                "provenance": provenance(config.family, card(device)),
                "parameters": trained_parameters(method),
            }
            where = {"device": str(device), "workers": workers, "compiled": config.runtime.compile}
            record.write("eval", metrics, 0, 0, split=probes.split, **images.on_record, **spent, **origin, **where)
            checkpoint.save(folder, _state(parts, arm, probe_epoch))
        last = record.summary(min(config.epochs, source.step // spe))
    if report is not None and state is not None and source.step > 0:
        # whoever decides may have died before deciding on this epoch; a worker other than the first says nothing
        report({**last, "repeated": True} if last else last)

    # --- train
    learner = Learner(config, device, method, distributed(method) if workers > 1 else method, optimiser, probes)
    meter = learner.meter
    advance: Callable[[int], Any] = Step(source, learner, learner.rates)
    if config.runtime.compile and source.step < end:
        from trainer.fast.door import fast_step  # only here: most runs need not pay for importing it

        advance = fast_step(learner, source)
    clock, core = time.perf_counter(), time.process_time()
    stopped = "completed"
    probe_at = {*config.eval.probe_epochs, config.epochs, *([config.gates[gate].epoch] if gate else [])}
    checks_every_step = device.type == "cpu" and workers == 1
    learner.model.train()
    while source.step < end:
        step = source.step
        if step % spe == 0:
            # dropout is the only user of torch's own generator: reseed it by epoch so resuming needs no state
            torch.manual_seed(derived_seed(config.seed, Purpose.TORCH, step // spe) + rank)
        kept, values = advance(step)
        probes.keep(kept)
        meter.add(values)
        done = step + 1
        # a sum stays NaN once a loss was: one check per epoch where a check would stall the device or must agree
        # between workers (means below), every step where it costs nothing
        finite = not checks_every_step or math.isfinite(float(meter.total))
        if finite and done % spe:
            continue

        # --- an epoch is complete (or the run has diverged): measure, put on record, make it durable, report
        epoch = done // spe
        means = meter.means()
        if not math.isfinite(means["loss/total"]):
            stopped = f"diverged by step {step}: the loss is not finite"
            if rank == 0:
                record.write("stop", {}, done, probe_epoch, reason=stopped)
                last |= {"epoch": step // spe + 1, "score": None, "diverged": True}
            if report is not None:
                report(last)
            break
        seconds = {"train": time.perf_counter() - clock}
        cores = {"train": time.process_time() - core}
        if rank == 0:
            clock, core = time.perf_counter(), time.process_time()
            metrics = probes.after_epoch(method, epoch, epoch in probe_at, folder)
            probe_epoch = epoch if epoch in probe_at else probe_epoch
            seconds["probes"], cores["probes"] = time.perf_counter() - clock, time.process_time() - core
            rate, scalars = learner.rates(step)
            record.write("epoch", means, done, probe_epoch, split="train", lr=rate, **scalars)
            record.write("eval", metrics, done, probe_epoch, split=probes.split, seconds=seconds, core_seconds=cores)
            if epoch % config.runtime.checkpoint_every == 0 or epoch == config.epochs:
                checkpoint.save(folder, _state(parts, arm, probe_epoch))
            last = record.summary(epoch)
        if report is not None:
            report(last)
        clock, core = time.perf_counter(), time.process_time()

    # --- say how it ended
    if rank == 0:
        if stopped == "completed":
            verdict = judge(config, gate, record.lines()) if gate else None
            record.write("stop", {}, end, probe_epoch, reason=stopped, gate=asdict(verdict) if verdict else None)
    return world.share_from_first(last | {"stopped": stopped})


def _state(parts: dict[str, Any], arm: str, probe_epoch: int) -> dict[str, Any]:
    state = {"arm_id": arm, "probe_epoch": probe_epoch, **{name: part.state_dict() for name, part in parts.items()}}
    if "step" not in state["views"]:
        source = type(parts["views"]).__name__
        raise UsageError(f"{source}.state_dict(): holds no step; add it, or a stopped run cannot be continued")
    return state
