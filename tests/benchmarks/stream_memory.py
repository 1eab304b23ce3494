"""What a memory of 50,000 CIFAR images costs a stream: bytes, and time of a step beside one without it. Run by hand.

    python tests/benchmarks/stream_memory.py

Steps of the loop (views, method, update) on generated images with a small encoder, so that a memory's own cost is not
hidden by a large one's, of four streams in turn, on one core: without memory, the same with as many rows as replay
makes of them, and with memories of 200 and of 50,000 items, both full. Processor time; ratios are of the same turn,
their median and quartiles over all turns.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent)]

from trainer import families, presets  # noqa: E402
from trainer.data.images import load_images  # noqa: E402
from trainer.data.sources.memory import Items  # noqa: E402
from trainer.step import make_optimiser, optimise  # noqa: E402

WORDS = (
    "data.generated=true", "data.pretrain_on=train", "precision=fp32", "model.encoder={name: conv, width: 16}",
    "data.stream.segments=10", "schedule.horizon_epochs=10", "schedule.warmup_epochs=0",
    "schedule.start_lr_ratio=null", "eval.probe_epochs=[]", "gates={}",
)  # fmt: skip
ITEMS, FILL = 50_000, 500


class Trained:
    """A stream and what is trained on it."""

    def __init__(self, batch: int, capacity: int | None):
        words = [*WORDS, f"optim.batch_size={batch}"]
        if capacity is not None:
            words.append(f"data.stream.replay.capacity={capacity}")
        self.config = presets.load("cifar100_aug_paper", words, {"epochs": 1})
        family = families.load(self.config.family)
        self.source = family.source(self.config, load_images(self.config), torch.float32)
        torch.manual_seed(0)
        self.method = family.make(self.config, self.source).to(memory_format=torch.channels_last)
        self.optimiser = make_optimiser(self.config, self.method)
        for first in range(0, capacity or 0, FILL):
            self._remember(torch.arange(first, first + FILL))

    def _remember(self, number: torch.Tensor) -> None:
        source = self.source
        index = source._images.splits["train"][number % 45_000]
        parameters = source._parameters(number, 0)[1]
        source.memory.add(Items(index, source._images.images[index][:, None], parameters), 0)

    def step(self) -> float:
        """Seconds of the processor that a step took."""
        begun, step = time.process_time(), self.source.step
        optimise(self.config, step, self.method, self.method, self.optimiser, self.source.next())
        return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16, help="new rows of a step (default: 16)")
    parser.add_argument("--turns", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    made = {
        "no memory": Trained(options.batch, None), "no memory, twice the rows": Trained(2 * options.batch, None),
        "200 items": Trained(options.batch, 200), f"{ITEMS:,} items": Trained(options.batch, ITEMS),
    }  # fmt: skip
    for name, one in made.items():
        if one.source.memory is not None:
            print(f"{name}: {len(one.source.memory):,} kept, {one.source.memory.bytes / 2**20:.1f} MiB")
    turns = [[one.step() for one in made.values()] for _ in range(options.turns + 5)][5:]
    for name, column in zip(made, zip(*turns, strict=True), strict=True):
        ratios = [own / first for own, (first, *_) in zip(column, turns, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"{name}: {1000 * statistics.median(column):.1f} ms a step, {middle:.2f} [{low:.2f}, {high:.2f}] of one"
            " without memory"
        )


if __name__ == "__main__":
    main()
