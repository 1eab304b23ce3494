"""Step time and peak memory of H-JEPA's features, each beside the default in the same alternating run.

    OMP_NUM_THREADS=1 python tests/benchmarks/h_jepa_features.py [--rounds 7] [key=value ...]

A step is its batch, forward, backward, optimiser and target, at the sizes of ``h_jepa_digits``. Times are the
processor's; the ratio is the median over rounds of feature over default, its range the smallest and largest. Peak
memory is of a step.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from peak_memory import peak_mib

from trainer import families, presets
from trainer.data.images import load_images
from trainer.step import make_optimiser, optimise

CROPS = "data.standard.locals={count: 2, side: 16}"
TWO = "data.standard.views=2"
COLOUR = ("data.name=cifar10", "data.generated=true", "data.sizes=[640,64,64]")
FEATURES = {
    "default": (),
    "default again (the noise)": (),
    "attention math": ("model.encoder.vit.attention=math",),
    "attention flash": ("model.encoder.vit.attention=flash",),
    "LayerScale": ("model.encoder.vit.layer_scale=1e-5",),
    "mixup": ("data.standard.mixup=0.8",),
    "colour images": COLOUR,
    "3-Augment, of colour images": (*COLOUR, "data.standard.recipe=deit3"),
    "2-D RoPE": ("model.encoder.vit.positions=rope",),
    "checkpointing": ("model.encoder.vit.checkpointing=true",),
    "two views": (TWO,),
    "C-JEPA, two views": (TWO, "objective.weights.c_jepa=0.001"),
    "NT-Xent, two views": (TWO, "objective.weights.nt_xent=0.1"),
    "local_context, 2 crops": (CROPS, "objective.locals=local_context"),
    "cross_crop, 2 crops": (CROPS, "objective.locals=cross_crop"),
    "three levels": ("model.levels=3",),
    "FPN add, three levels": ("model.levels=3", "model.fpn={width: 48}"),
    "FPN concat, three levels": ("model.levels=3", "model.fpn={width: 48, merge: concat}"),
    "SIGReg": ("objective.weights.sigreg=0.02",),
}


class Side:
    """One configuration, ready to take steps."""

    def __init__(self, words: tuple[str, ...], device: torch.device):
        self.run = presets.load("h_jepa_digits", [*words])
        family, images = families.load("h_jepa"), load_images(self.run).to(device, 2048)
        self.source = family.source(self.run, images, torch.float32)
        torch.manual_seed(0)
        self.method = family.make(self.run, self.source).to(device).train()
        self.optimiser, self.device, self.step = make_optimiser(self.run, self.method), device, 0
        self.take()

    def take(self) -> None:
        optimise(self.run, self.step, self.method, self.method, self.optimiser, self.source.next())
        self.step += 1

    def seconds(self, steps: int) -> float:
        """Per step; its batch included."""
        cuda = self.device.type == "cuda"
        clock = time.perf_counter if cuda else time.process_time
        torch.cuda.synchronize() if cuda else None
        started = clock()
        for _ in range(steps):
            self.take()
        torch.cuda.synchronize() if cuda else None
        return (clock() - started) / steps


def main() -> int:
    """Print the table."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("settings", nargs="*", metavar="key=value", help="of both sides, as optim.batch_size=16")
    p.add_argument("--device", default="cpu")
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--steps", type=int, default=3)
    o = p.parse_args()
    torch.set_num_threads(1)
    sides = {name: Side((*o.settings, *words), torch.device(o.device)) for name, words in FEATURES.items()}
    times = {name: [] for name in sides}
    for _ in range(o.rounds):
        for name, side in sides.items():
            times[name].append(side.seconds(o.steps))
    default = times["default"]
    print(f"h_jepa_digits on {o.device}, torch {torch.__version__}, {o.rounds} rounds of {o.steps} steps")
    print(f"{'feature':28} {'ms a step':>9} {'over default':>12} {'range':>12} {'peak MiB':>9}")
    for name, found in times.items():
        ratio = [one / other for one, other in zip(found, default, strict=True)]
        spread = f"{min(ratio):.2f}-{max(ratio):.2f}"
        peak, ms = peak_mib(sides[name].take, sides[name].device), 1e3 * statistics.median(found)
        print(f"{name:28} {ms:9.1f} {statistics.median(ratio):12.2f} {spread:>12} {peak:9.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
