"""Which ridge penalty stands for the paper's linear probe? Run by hand: ``python tests/benchmarks/ridge_strength.py``.

Trains one collapsed and one spread model on digits, then scores the same frozen features by closed-form ridge
at several penalties and by the paper's protocol (a linear layer, Adam 1e-3, batch 256, 300 epochs; appendix A).
Prints the accuracies in percent; about a minute on one core. A weak penalty is kind to the collapsed model.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from trainer import checkpoint, presets
from trainer.data.images import load_images
from trainer.data.views import Views
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.families.seq_jepa.probing.features import extract
from trainer.loop import train
from trainer.probes.ridge import Ridge
from trainer.record.identity import arm_id, run_id

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)


def paper_probe(x: Tensor, y: Tensor, test_x: Tensor, test_y: Tensor) -> float:
    torch.manual_seed(0)
    layer = nn.Linear(x.shape[1], 10)
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for _ in range(300):
        for rows in torch.randperm(len(x)).split(256):
            optimiser.zero_grad()
            nn.functional.cross_entropy(layer(x[rows]), y[rows]).backward()
            optimiser.step()
    return 100 * float((layer(test_x).argmax(1) == test_y).double().mean())


def main() -> None:
    torch.set_num_threads(1)
    images = load_images(presets.load("digits"))
    print(
        f"{'model':<22}{'feature':<11}" + "".join(f"{f'ridge {p:g}':>14}" for p in PENALTIES) + f"{'paper probe':>14}"
    )
    for weight in (0.0, 0.1):
        run = presets.load("digits", [f"objective.weights.rate={weight}"], {"runtime.across_commits": True})
        with tempfile.TemporaryDirectory() as folder:
            train(run, Path(folder), images=images)
            state = checkpoint.load(Path(folder) / run_id(run), torch.device("cpu"), arm_id(run))
        source = Views(run, images, torch.float32)
        model = SeqJEPA(run, 1, source.action_dim)
        model.load_state_dict(state["method"])
        model.eval()
        train_x, held_x = (
            extract(model, source.fixed(split, draws), 256) for split, draws in (("train", 2), ("validation", 4))
        )
        y, held_y = train_x.labels, held_x.labels
        for name in ("z_agg", "z_1", "z_mean"):
            features, held = getattr(train_x, name), getattr(held_x, name)
            scores = [Ridge(features, y, 10, penalty).accuracy(held, held_y) for penalty in PENALTIES]
            scores.append(paper_probe(features, y, held, held_y))
            print(f"stopgrad lambda={weight:<6g} {name:<11}" + "".join(f"{score:>14.1f}" for score in scores))


if __name__ == "__main__":
    main()
