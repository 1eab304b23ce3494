"""Cost of softmax attention, MSSA and TSSA against the number of tokens: time and peak memory, forward and backward.

    python tests/benchmarks/attention_cost.py [--device cuda] [--width 640] [--heads 4]

Each is the whole layer, projections included. The exponent is the slope of log time against log tokens, fitted over the
longest three sequences; below about twice the width the projections cost more than what they feed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
from peak_memory import peak_mib
from torch import Tensor, nn

from trainer.blocks.mssa import MSSA
from trainer.blocks.tssa import TSSA

TOKENS = (4, 16, 64, 256, 1024, 4096)


class Softmax(nn.Module):
    """Multi-head attention with three projections, through torch's fused kernel."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (one.unflatten(2, (self.heads, -1)).transpose(1, 2) for one in self.qkv(x).chunk(3, dim=2))
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


KINDS = {"softmax": Softmax, "MSSA": MSSA, "TSSA": TSSA}


def measured(layer: nn.Module, x: Tensor, repeats: int) -> tuple[float, float, float]:
    """Seconds forward and backward (fastest of the repeats), and peak memory beyond the input in MiB."""
    forward, backward, cuda = [], [], x.device.type == "cuda"
    for _ in range(repeats):
        started = _now(cuda)
        y = layer(x)
        middle = _now(cuda)
        y.sum().backward()
        forward.append(middle - started)
        backward.append(_now(cuda) - middle)
    return min(forward), min(backward), peak_mib(lambda: layer(x).sum().backward(), x.device)


def _now(cuda: bool) -> float:
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter()


def costs(device: str, width: int, heads: int, repeats: int) -> Iterator[tuple[int, str, tuple[float, float, float]]]:
    """(tokens, kind of attention, :func:`measured`) of every length and kind, in order."""
    torch.manual_seed(0)
    for tokens in TOKENS:
        for name, kind in KINDS.items():
            layer = kind(width, heads).to(device)
            x = torch.randn(1, tokens, width, device=device, requires_grad=True)
            layer(x).sum().backward()
            yield tokens, name, measured(layer, x, repeats)


def exponent(seconds: list[float]) -> float:
    """Slope of log time against log tokens over the longest three; one time per length."""
    return float(np.polyfit(np.log(TOKENS[-3:]), np.log(seconds[-3:]), 1)[0])


def main() -> int:
    """Print the table and the exponents."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--device", default="cpu")
    p.add_argument("--width", type=int, default=640)
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--repeats", type=int, default=5)
    o = p.parse_args()
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    print(f"one layer, width {o.width}, {o.heads} heads, fp32, batch 1, on {o.device}, torch {torch.__version__}")
    print(f"{'tokens':>6}  " + "  ".join(f"{name + ' fwd ms':>15} {'bwd ms':>8} {'peak MiB':>8}" for name in KINDS))
    for tokens, name, (forward, backward, peak) in costs(o.device, o.width, o.heads, o.repeats):
        times[name].append(forward + backward)
        begins, ends = name == next(iter(KINDS)), name == next(reversed(KINDS))
        cell = f"{1e3 * forward:15.3f} {1e3 * backward:8.3f} {peak:8.1f}"
        print(f"{tokens:6}  {cell}" if begins else f"  {cell}", end="\n" if ends else "", flush=True)
    for name, seconds in times.items():
        print(f"{name}: exponent {exponent(seconds):.2f} over {TOKENS[-3]} to {TOKENS[-1]} tokens")
    for name in ("MSSA", "TSSA"):
        ratio = ", ".join(f"{n}: {a / b:.2f}" for n, a, b in zip(TOKENS, times["softmax"], times[name], strict=True))
        print(f"softmax time over {name}'s, by tokens: {ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
