"""The loop's own step on generated CIFAR-100 images, in the ways a GPU can run it."""

from __future__ import annotations

import statistics
import time

import torch

from trainer import presets
from trainer.config import RunConfig
from trainer.data.images import load_images
from trainer.data.views import Views
from trainer.families import seq_jepa
from trainer.fast import accelerate
from trainer.fast.door import fast_step
from trainer.runtime import pick_dtype, set_arithmetic
from trainer.step import Learner, Step, make_optimiser

GENERATED = ["data.generated=true", "data.sizes=[45000,5000,10000]"]
WAYS = ("plain", "compiled", "captured")


def paper(*overrides: str) -> RunConfig:
    """The paper's CIFAR-100 settings: 512 sequences of 3 + 1 views, ResNet-18, bf16."""
    return presets.load("cifar100_aug_paper", [*GENERATED, *overrides])


class Training:
    """Model, views, probes and one of the ways to take a step.

    Args:
        way: ``plain`` launches every kernel by itself, ``compiled`` fuses rendering, forward and backward, ``captured``
            is what ``runtime.compile`` does: compiled, and the whole step one CUDA graph.
    """

    def __init__(self, config: RunConfig, way: str, device: torch.device):
        config = config.model_copy(update={"runtime": config.runtime.model_copy(update={"compile": way != "plain"})})
        self.config, self.device = config, device
        set_arithmetic(config, device)
        images = load_images(config).to(device, config.runtime.resident_mib)
        self.images, dtype = images, pick_dtype(config)
        self.views = Views(config, images, dtype)
        torch.manual_seed(0)
        self.method = seq_jepa.make(config, self.views).to(device, dtype, memory_format=torch.channels_last)
        self.probes = seq_jepa.probes(config, images, self.views, self.method, device)
        learner = Learner(config, device, self.method, self.method, make_optimiser(config, self.method), self.probes)
        if way == "captured":
            self.step = fast_step(learner, self.views)
        else:
            if way == "compiled":
                learner.evaluate = accelerate.on_cuda(
                    learner.evaluate, self.views, learner.optimiser, *self.probes.optimisers
                )
            self.step = Step(self.views, learner, learner.rates)
        self.done = 0

    def run(self, steps: int) -> list[torch.Tensor]:
        """Take steps; the loss of each, on the device."""
        losses = []
        for _ in range(steps):
            losses.append(self.step(self.done)[1][-1].clone())
            self.done += 1
        return losses

    def milliseconds(self, steps: int, rounds: int = 3) -> float:
        """Wall time of one step: the median over rounds of ``steps`` steps."""
        times = []
        for _ in range(rounds):
            torch.cuda.synchronize(self.device)
            clock = time.perf_counter()
            self.run(steps)
            torch.cuda.synchronize(self.device)
            times.append(1e3 * (time.perf_counter() - clock) / steps)
        return statistics.median(times)

    def launches(self) -> tuple[float, float, list[tuple[str, float, float]]]:
        """Kernels of one step: how many, their milliseconds, and (name, milliseconds, count) of the longest."""
        steps = 3
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            self.run(steps)
            torch.cuda.synchronize(self.device)
        on_device = torch.autograd.DeviceType.CUDA
        kernels = [e for e in profile.key_averages() if e.device_type == on_device and "#" not in e.key]
        rows = sorted(
            ((e.key, e.self_device_time_total / 1e3 / steps, e.count / steps) for e in kernels), key=lambda row: -row[1]
        )
        return sum(row[2] for row in rows), sum(row[1] for row in rows), rows
