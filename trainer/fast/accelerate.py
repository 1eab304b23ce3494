"""Compiled training steps, and whether compiling pays: measured before training, on the run's own batches.

On the CPU (bf16, ResNet-18): batch-norm joined with residual and ReLU, packed convolutions of small maps, and freed
memory kept. Compiling the whole method there changed little, since convolutions dominate and inductor leaves them to
the same library. On CUDA: the method and its loss, and the rendering of pixels, are compiled; with one worker the whole
step becomes one CUDA graph (:mod:`trainer.fast.captured`).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from trainer.blocks.norm import GlobalBatchNorm
from trainer.blocks.resnet import Conv3x3
from trainer.config import RunConfig
from trainer.fast.allocator import huge_pages, keep_freed_memory
from trainer.fast.fused_norm import fused_act
from trainer.fast.packed_conv import packed
from trainer.method import Output
from trainer.source import Batch, Plannable
from trainer.step import Evaluate


def accelerate(method: nn.Module, model: nn.Module, device: torch.device) -> nn.Module:
    """The model to train with: ``model`` with fused kernels switched on, or compiled.

    Args:
        method: the bare method; model: the same, or its wrapper for several workers.

    """
    if device.type == "cuda":
        return torch.compile(model)
    keep_freed_memory()
    switch(method, True)
    return model


def on_cuda(evaluate: Evaluate, source: Plannable, *optimisers: torch.optim.Optimizer) -> Evaluate:
    """Make a step ready to be captured: fused kernels for rendering and for ``evaluate``, optimisers that read their
    rates on the device.

    Returns:
        ``evaluate`` compiled. Its terms are detached, since a compiled function computes the gradient of every output
        that has one: of an unweighted coding rate, say.
    """
    # a process serves many trials: dynamo keeps what it compiled by source line, and after eight models of one line
    # gives up without a word
    torch._dynamo.reset()
    for group in (group for optimiser in optimisers for group in optimiser.param_groups):
        group["capturable"] = True
    source.compile()

    def detached(batch: Batch) -> tuple[Output, Tensor]:
        output, loss = evaluate(batch)
        return replace(output, terms={name: term.detach() for name, term in output.terms.items()}), loss

    return torch.compile(detached, dynamic=False)


def switch(method: nn.Module, on: bool) -> None:
    """Give a method's encoders fused batch-norm and packed convolutions, or take them away."""
    for module in method.modules():
        if isinstance(module, GlobalBatchNorm):
            module.kernel = fused_act if on else None
        elif isinstance(module, Conv3x3):
            module.kernel = packed if on else None


def whether_it_pays(
    config: RunConfig,
    method: nn.Module,
    model: nn.Module,
    device: torch.device,
    batch: Batch,
    loss: Callable[[nn.Module, Batch], Tensor],
) -> tuple[nn.Module, str]:
    """Accelerate, and time forward and backward before and after on one batch; the method's state is left as it was.

    Args:
        loss: forward pass of the model on a batch, to a scalar.

    Returns:
        The model to train with, and one line for the console.
    """
    before = copy.deepcopy(method.state_dict())
    numbers = torch.get_rng_state()
    plain = _seconds(lambda: loss(model, batch), device)
    fast_model = accelerate(method, model, device)
    clock = time.perf_counter()
    _seconds(lambda: loss(fast_model, batch), device, repeats=1)
    if device.type == "cpu":
        huge_pages()
    once = time.perf_counter() - clock
    fast = _seconds(lambda: loss(fast_model, batch), device)
    method.load_state_dict(before)
    method.zero_grad(set_to_none=True)
    torch.set_rng_state(numbers)
    text = (
        f"compiled in {once:.0f} s (not counted as training); forward and backward {fast:.3f} s instead of"
        f" {plain:.3f} s"
    )
    if fast >= plain:
        return fast_model, f"{text}: it does not pay here, switch it off with runtime.compile=false"
    steps = math.ceil(once / (plain - fast))
    return (
        fast_model,
        f"{text} ({plain / fast:.2f} times as fast): pays from epoch {steps // config.steps_per_epoch + 1} on",
    )


def _seconds(step: Callable[[], Tensor], device: torch.device, repeats: int = 3) -> float:
    """Fastest of some forward and backward passes."""
    times = []
    for _ in range(repeats):
        clock = time.perf_counter()
        step().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - clock)
    return min(times)
