"""The training loop of every method, read from top to bottom.

Counts steps and samples; an epoch is ``steps_per_epoch`` steps. Knows nothing of Ray: a study passes
``report=`` and gets a dict per epoch.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from trainer import checkpoint, compilable, world
from trainer.captured import CapturedStep, Learnt, Step
from trainer.config import SETS, RunConfig
from trainer.data.images import ImageSet, load_images
from trainer.data.philox import Purpose, derived_seed
from trainer.data.views import Batch, Views
from trainer.gates import judge
from trainer.identity import arm_id, provenance, run_id
from trainer.meter import Meter
from trainer.models import accelerate
from trainer.models.seq_jepa import Output, SeqJEPA
from trainer.models.target import ema_decay
from trainer.probes.features import Harvest
from trainer.probes.health import Health
from trainer.probes.online import OnlineProbe
from trainer.run_record import RunRecord
from trainer.runtime import pick_device, pick_dtype, set_arithmetic
from trainer.schedule import learning_rate

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
    device, dtype = pick_device(config), pick_dtype(config)
    torch.set_num_threads(config.runtime.threads)
    set_arithmetic(config, device)
    rank, workers, arm = world.rank(), world.size(), arm_id(config)
    compilable.check(config, device.type, workers)
    images = (images or load_images(config)).to(device, config.runtime.resident_mib)
    views = Views(config, images, dtype, rank, workers)
    torch.manual_seed(derived_seed(config.seed, Purpose.INIT))
    method = SeqJEPA(config, SETS[config.data.name].channels, views.action_dim).to(device, dtype, memory_format=torch.channels_last)
    model = _distributed(method) if workers > 1 else method
    optimiser = make_optimiser(config, method)
    width = method.aggregator.norm.normalized_shape[0]
    pair = (2 * method.encoder.features, views.transform.parameters) if config.eval.action_probe else None
    online = OnlineProbe(width, images.classes, device, pair)
    health = Health(config, images, views) if rank == 0 else None
    parts: dict[str, Any] = {"method": method, "optimiser": optimiser, "online": online, "views": views}
    if rank == 0 and config.eval.subspace.epochs:
        from trainer.subspace.diagnostics import Diagnostics  # only here: most runs need not pay for importing scipy

        subspace = Diagnostics(config, images, views, health.untrained(method), health.split)

    # --- where it left off
    state = checkpoint.load(folder, device, arm, parts)
    if state is not None and world.share_from_first(record.behind(state["views"]["step"]) if rank == 0 else None):
        state = None  # a checkpoint newer than its record: what is missing is trained again
    if state is not None:
        checkpoint.restore(folder, parts, state)
    spe, end = config.steps_per_epoch, config.epochs * config.steps_per_epoch
    probe_epoch = state["probe_epoch"] if state else 0
    last: dict[str, Any] = {}
    if rank == 0:
        if record.has_lines and views.step < end:
            record.resume(views.step, probe_epoch)
        if state is None:
            clock, core = time.perf_counter(), time.process_time()
            untrained = health.untrained(method)
            metrics = health.probe(untrained, full=baselines) | (health.pixels() if baselines else {})
            spent = {"seconds": {"probes": time.perf_counter() - clock}, "core_seconds": {"probes": time.process_time() - core}}
            origin = {"config": config.model_dump(mode="json"), "provenance": provenance()}
            where = {"device": str(device), "workers": workers, "compiled": config.runtime.compile}
            record.write("eval", metrics, 0, 0, split=health.split, split_hash=images.split_hash, **spent, **origin, **where)
            checkpoint.save(folder, _state(parts, arm, probe_epoch))
        last = record.summary(min(config.epochs, views.step // spe))
    if report is not None and state is not None and views.step > 0:
        # whoever decides may have died before deciding on this epoch; a worker other than the first says nothing
        report({**last, "repeated": True} if last else last)

    # --- train
    weights = config.objective.weights.model_dump()
    meter, harvest = Meter(weights), Harvest()
    captures = config.runtime.compile and device.type == "cuda" and workers == 1
    evaluate = partial(forward, config, model, weights=weights)
    if captures:
        evaluate = accelerate.on_cuda(evaluate, views, optimiser, online.optimiser)
    elif config.runtime.compile and views.step < end:
        example = views.render(views.plan(views.step))
        model, line = accelerate.whether_it_pays(config, method, model, device, example, lambda m, b: forward(config, m, b)[1])
        print(line, file=sys.stderr)
        evaluate = partial(forward, config, model, weights=weights)

    def learn(batch: Batch, rate: float | Tensor, decay: float | Tensor | None) -> Learnt:
        output, loss = update(config, evaluate, method, optimiser, batch, rate, decay)
        online.observe(output.features, batch["labels"], batch["factors"])
        return output.features, batch["labels"], meter.values(output, loss)

    advance = CapturedStep(views, learn, partial(rates, config), device) if captures else Step(views, learn, partial(rates, config))
    clock, core = time.perf_counter(), time.process_time()
    stopped = "completed"
    probe_at = {*config.eval.probe_epochs, config.epochs, *([config.gates[gate].epoch] if gate else [])}
    checks_every_step = device.type == "cpu" and workers == 1
    model.train()
    while views.step < end:
        step = views.step
        if step % spe == 0:
            # dropout is the only user of torch's own generator: reseed it by epoch so resuming needs no state
            torch.manual_seed(derived_seed(config.seed, Purpose.TORCH, step // spe) + rank)
        features, labels, values = advance(step)
        harvest.add(features, labels)
        meter.add(values)
        done = step + 1
        # a sum stays NaN once a loss was: one check per epoch where a check would stall the device or must agree
        # between workers (means below), every step where it costs nothing
        finite = not checks_every_step or math.isfinite(float(meter.total))
        if done % spe and finite:
            continue

        # --- an epoch is complete (or the run has diverged): measure, put on record, make it durable, report
        epoch = done // spe
        means = meter.means(spe)
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
            metrics = health.live(method, harvest, online) if epoch % config.eval.live_every == 0 or epoch in probe_at else {}
            harvest = Harvest()
            if epoch in probe_at:
                metrics |= health.probe(method)
                probe_epoch = epoch
            if epoch in config.eval.subspace.epochs:
                metrics |= subspace.at_epoch(method, folder, epoch, metrics)
            seconds["probes"], cores["probes"] = time.perf_counter() - clock, time.process_time() - core
            decay = ema_decay(config.objective.ema, step, config.horizon_steps, spe) if config.objective.ema else None
            rate = learning_rate(config, step)
            record.write("epoch", means, done, probe_epoch, split="train", lr=rate, ema_decay=decay)
            record.write("eval", metrics, done, probe_epoch, split=health.split, seconds=seconds, core_seconds=cores)
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


def optimise(
    config: RunConfig, step: int, model: torch.nn.Module, method: SeqJEPA, optimiser: torch.optim.Optimizer, batch: Batch
) -> tuple[Output, Tensor]:
    """One step: forward, backward, update, and the teacher's move. Nothing here waits for the device.

    Args:
        model: ``method`` itself, or its wrapper (several workers, compiled).

    Returns:
        The method's output and the loss.
    """
    return update(config, partial(forward, config, model), method, optimiser, batch, *rates(config, step))


def rates(config: RunConfig, step: int) -> tuple[float, float | None]:
    """Learning rate and the teacher's decay (None without a moving-average teacher) of a step."""
    ema = config.objective.ema
    decay = ema_decay(ema, step, config.horizon_steps, config.steps_per_epoch) if ema else None
    return learning_rate(config, step), decay


def update(
    config: RunConfig,
    evaluate: Callable[[Batch], tuple[Output, Tensor]],
    method: SeqJEPA,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    rate: float | Tensor,
    decay: float | Tensor | None,
) -> tuple[Output, Tensor]:
    """:func:`optimise` at given rates, which a captured step (:mod:`trainer.captured`) reads from the device.

    Args:
        evaluate: the method's output and loss of a batch.
    """
    for group in optimiser.param_groups:
        group["lr"] = rate
    output, loss = evaluate(batch)
    optimiser.zero_grad()
    loss.backward()
    if config.optim.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(method.parameters(), config.optim.clip_norm)
    optimiser.step()
    if decay is not None:
        method.target_branch.follow(method.encoder, decay)
    return output, loss


def forward(
    config: RunConfig, model: torch.nn.Module, batch: Batch, weights: dict[str, float] | None = None
) -> tuple[Output, Tensor]:
    """The method's output and the weighted loss, in the configured precision; ``weights`` default to the configured ones."""
    device = batch["actions"].device.type
    with torch.autocast(device, torch.bfloat16, enabled=config.precision == "bf16"):
        output = model(batch)
    return output, total_loss(output.terms, weights or config.objective.weights.model_dump())


def make_optimiser(config: RunConfig, method: SeqJEPA) -> torch.optim.Optimizer:
    """The configured optimiser over the method's trained parameters, fused where the device has it."""
    optim, device = config.optim, next(method.parameters()).device.type
    groups = method.parameter_groups(optim.weight_decay, optim.decay_on == "all")
    make = torch.optim.AdamW if optim.name == "adamw" else torch.optim.Adam
    return make(groups, lr=optim.lr, betas=(optim.beta1, optim.beta2), fused=device in ("cpu", "cuda"))


def _distributed(method: SeqJEPA) -> DistributedDataParallel:
    """Averages gradients; buffers are equal on all workers already, since batch-norm is over the global batch."""
    with warnings.catch_warnings():
        # newer torch renames the option, torch 2.11 does not know the new name
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(method, broadcast_buffers=False)


def total_loss(terms: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The weighted sum of a method's loss terms, the only place where they meet.

    Raises:
        ValueError: a term has no weight, or a weight no term.
    """
    wanted = [name for name, weight in weights.items() if weight]
    if not (all(name in terms for name in wanted) and all(name in weights for name in terms)):
        raise ValueError(
            f"loss terms {sorted(terms)} and weights {weights} must have the same names: "
            "a term without a weight would be lost, a weight without a term would do nothing"
        )
    # a weight of zero leaves its term out: 0 x NaN is NaN, and its gradient need not be computed
    return sum(weight * terms[name] for name, weight in weights.items() if weight)


def _state(parts: dict[str, Any], arm: str, probe_epoch: int) -> dict[str, Any]:
    return {"arm_id": arm, "probe_epoch": probe_epoch, **{name: part.state_dict() for name, part in parts.items()}}
