"""One training step of seq-JEPA, ours against the usual way, on the same configuration. Run by hand; needs no Ray.

    python tests/benchmarks/train_step.py                         # CPU: batch 64, CIFAR-100's 9-dim action, ResNet-18,
    M = 3 python tests/benchmarks/train_step.py --device cuda           # GPU: batch 512, cifar100_aug_paper

Ours is the loop's own step (views rendered, method, update, teacher, both online probes) in bf16 with compiled kernels;
the reference is ``reference_loop.py`` (per-image torchvision transforms in a DataLoader, fp32, parameter-by-parameter
EMA), in processes of their own, at the best of all thread and worker counts tried. Ours also keeps freed memory
(trainer.fast.allocator): the same setting would speed the reference up as well, by a quarter on the machine it was
tried on. All figures are sequences/s.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

from reference_loop import gemm_peak  # noqa: E402

from trainer import presets  # noqa: E402
from trainer.config import SETS, RunConfig  # noqa: E402
from trainer.data.images import load_images  # noqa: E402
from trainer.data.views import Views  # noqa: E402
from trainer.families.seq_jepa.method import SeqJEPA  # noqa: E402
from trainer.families.seq_jepa.probing.online import OnlineProbe  # noqa: E402
from trainer.fast.accelerate import whether_it_pays  # noqa: E402
from trainer.step import forward, make_optimiser, optimise  # noqa: E402

# encoder forwards and backwards of one sequence: 3 views x (1 + 2) and the target, 0.556 GMAC each (2 FLOP per MAC);
# the aggregator's 14.8 M and the predictor's 1.3 M parameters on 4 tokens add a tenth of a view
FLOP_PER_SEQUENCE = 10 * 2 * 0.556e9 + 3 * 2 * (14.8e6 * 4 + 1.3e6)


class Ours:
    """The loop's step on generated images."""

    def __init__(self, config: RunConfig, device: torch.device):
        images = load_images(config).to(device, 4096)
        self.config, self.device = config, device
        self.views = Views(config, images, torch.float32)
        torch.manual_seed(0)
        method = SeqJEPA(config, SETS["cifar100"].channels, self.views.action_dim)
        self.method = method.to(device, memory_format=torch.channels_last)
        self.model: torch.nn.Module = self.method
        self.optimiser = make_optimiser(config, self.method)
        width = self.method.aggregator.width
        self.online = OnlineProbe(
            width, images.classes, device, (2 * self.method.encoder.features, self.views.transform.parameters)
        )
        self.spent = {"views": 0.0, "step": 0.0, "probes": 0.0}

    def accelerate(self) -> str:
        example = self.views.next()
        self.model, line = whether_it_pays(
            self.config,
            self.method,
            self.model,
            self.device,
            example,
            lambda m, b: forward(self.config, self.device.type, m, self.method.weights, b)[1],
        )
        return line

    def speed(self, steps: int, parts: bool = False) -> float:
        """Sequences per second over ``steps`` steps; ``parts`` also times each part (on a GPU that adds waiting)."""
        self._wait()
        begun = time.perf_counter()
        for _ in range(steps):
            step, clock = self.views.step, time.perf_counter()
            batch = self.views.next()
            clock = self._spent("views", clock, parts)
            output, _ = optimise(self.config, step, self.model, self.method, self.optimiser, batch)
            clock = self._spent("step", clock, parts)
            self.online.observe(output.features, batch["labels"], batch["factors"])
            self._spent("probes", clock, parts)
        self._wait()
        return steps * self.config.optim.batch_size / (time.perf_counter() - begun)

    def _spent(self, part: str, since: float, parts: bool) -> float:
        if parts:
            self._wait()
            self.spent[part] += time.perf_counter() - since
        return time.perf_counter()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def reference(threads: int, workers: int, steps: int, device: str, batch: int) -> float:
    """Sequences per second of the reference, in a process of its own."""
    command = [
        sys.executable,
        str(HERE / "reference_loop.py"),
        *map(str, (threads, workers, steps)),
        device,
        str(batch),
    ]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return float(
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split()[-1]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, help="sequences per step (default: 64 on the CPU, 512 on a GPU)")
    parser.add_argument(
        "--threads", type=int, default=min(2, os.cpu_count() or 1), help="torch threads of our side (default: 2)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="alternating pairs (default: 5)")
    parser.add_argument("--steps", type=int, help="timed steps per round (default: 6 on the CPU, 100 on a GPU)")
    parser.add_argument("--no-reference", action="store_true")
    options = parser.parse_args()
    cuda = options.device == "cuda"
    batch, steps = options.batch or (512 if cuda else 64), options.steps or (100 if cuda else 6)
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    name = (
        torch.cuda.get_device_name() if cuda else f"{os.cpu_count()} cores {platform.processor() or platform.machine()}"
    )
    print(f"{name}, torch {torch.__version__}, batch {batch}, {options.threads} threads for ours")
    peak = _cuda_peak() if cuda else gemm_peak(torch.bfloat16, options.threads)
    print(
        f"GEMM bf16 {peak:.2f} TFLOP/s"
        + ("" if cuda else f", fp32 {gemm_peak(torch.float32, options.threads):.2f} TFLOP/s")
    )

    best: tuple[int, int] | None = None
    if not options.no_reference:
        cores = os.cpu_count() or 1
        settings = (
            [(1, cores), (cores, cores // 2), (cores, 0)] if cuda else [(t, w) for t in (1, 2) for w in (0, 1, 2)]
        )
        tried = {}
        for threads, workers in settings:
            tried[threads, workers] = reference(threads, workers, 4 if not cuda else 20, options.device, batch)
            print(f"reference, {threads} threads, {workers} loader workers: {tried[threads, workers]:8.1f}", flush=True)
        best = max(tried, key=tried.get)

    sizes = "[45000,5000,10000]" if cuda else "[4096,64,64]"
    overrides = [
        f"optim.batch_size={batch}",
        "data.generated=true",
        f"data.sizes={sizes}",
        "precision=bf16",
        "data.pretrain_on=train",
    ]
    ours = Ours(presets.load("cifar100_aug_paper", overrides), device)
    print(ours.accelerate(), flush=True)
    ours.speed(3)
    pairs = []
    for number in range(options.rounds):
        mine = ours.speed(steps)
        theirs = reference(*best, 4 if not cuda else 20, options.device, batch) if best else float("nan")
        pairs.append((mine, theirs))
        print(
            f"round {number + 1}: ours {mine:8.1f}   reference {theirs:8.1f}   ratio {mine / theirs:5.2f}", flush=True
        )
    ours.speed(steps, parts=True)
    whole = sum(ours.spent.values())
    speed = statistics.median(mine for mine, _ in pairs)
    print(
        f"ours {speed:.1f} sequences/s (median of {len(pairs)}), {speed * FLOP_PER_SEQUENCE / 1e12:.2f} TFLOP/s,"
        f" {100 * speed * FLOP_PER_SEQUENCE / 1e12 / peak:.0f} % of the GEMM peak"
    )
    print("time: " + ", ".join(f"{part} {100 * seconds / whole:.1f} %" for part, seconds in ours.spent.items()))
    if best:
        ratios = sorted(mine / theirs for mine, theirs in pairs)
        theirs = statistics.median(t for _, t in pairs)
        print(
            f"reference {theirs:.1f} ({best[0]} threads, {best[1]} workers); ratio {statistics.median(ratios):.2f},"
            f" between {ratios[0]:.2f} and {ratios[-1]:.2f}, n = {len(ratios)}"
        )
    if cuda:
        print(
            f"one epoch of 50,000 images: {50_000 // batch * batch / speed:.2f} s; peak memory"
            f" {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
        )


def _cuda_peak() -> float:
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(10):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        torch.mm(a, b)
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return 2 * 8192**3 / min(times) / 1e12


if __name__ == "__main__":
    main()
