"""The white-box layers of one run, on fixed sequences of the selection split; a model without any is not measured."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from trainer.blocks.opened import watched, white_box_blocks
from trainer.blocks.white_box import Opened
from trainer.data.views import Views
from trainer.families.seq_jepa.config import SeqJEPAConfig
from trainer.families.seq_jepa.method import SeqJEPA
from trainer.method import evaluating
from trainer.subspace.layers import Layer, Specialised, specialised
from trainer.subspace.summary import Summary
from trainer.subspace.sweep import as_double

SEQUENCES, CHUNK = 512, 64


class WhiteBoxLayers:
    """Measures the layers of ``encoder``, ``aggregator@M`` and ``predictor@M``, as far as these have any.

    Metrics are ``metric.layer1/part``; ``head_r2``, ``head_r2_null`` and ``head_z`` also name what is explained:
    ``head_r2.layer1.rotation1/part`` of a component of the action (of the encoder: of the view's own parameter), or
    ``class``. They are of the best head; arrays hold all heads. Parts of the untrained model are named
    ``untrained_aggregator@M`` and so on: where an action is an input, also random subspaces tell it.
    """

    def __init__(self, config: SeqJEPAConfig, views: Views, split: str):
        self._config = config
        self._fixed = views.fixed(split).limited(SEQUENCES)
        groups = views.transform.factors
        self._components = [
            f"{name}{i + 1}" if part.stop - part.start > 1 else name
            for name, part in groups.items()
            for i in range(part.stop - part.start)
        ]

    def measure(self, method: SeqJEPA, untrained: SeqJEPA) -> Summary:
        """Metrics and arrays of all parts of both models: none of models without white-box layers."""
        made = [self._measured(method, ""), self._measured(untrained, "untrained_")]
        arrays = made[0].arrays | made[1].arrays
        if arrays:
            arrays["white_box"] = np.concatenate([one.arrays["white_box"] for one in made])
        return Summary(made[0].metrics | made[1].metrics, arrays)

    @torch.no_grad()
    def _measured(self, method: SeqJEPA, prefix: str) -> Summary:
        m = self._config.data.observed_views
        parts: dict[str, nn.Module] = {
            "encoder": method.encoder,
            f"aggregator@{m}": method.aggregator,
            f"predictor@{m}": method.predictor,
        }
        layers = {name: [Layer() for _ in white_box_blocks(part)] for name, part in parts.items()}
        layers = {name: found for name, found in layers.items() if found}
        if not layers:
            return Summary({}, {})
        known: list[tuple[np.ndarray, ...]] = []
        with evaluating(method), ExitStack() as stack:
            for name, found in layers.items():
                stack.enter_context(watched(parts[name], partial(_see, found, m if name == "encoder" else 1)))
            for batch in self._fixed.batches(CHUNK):
                device = batch["labels"].device.type
                with torch.autocast(device, torch.bfloat16, enabled=self._config.precision == "bf16"):
                    actions = method.action(batch["actions"])
                    aggregate = method.aggregator(method.encode(batch["observed"]), actions[:, :-1])
                    method.predict(aggregate, actions[:, -1])
                known.append(tuple(as_double(batch[key]) for key in ("labels", "factors", "poses")))
        labels, factors, poses = (np.concatenate(column) for column in zip(*known, strict=True))
        targets = [*self._components, "class"]
        metrics: dict[str, float] = {}
        arrays = {"white_box": np.array([f"{prefix}{part}" for part in layers]), "white_box_targets": np.array(targets)}
        for part, found in layers.items():
            name, heads = f"{prefix}{part}", []
            for number, layer in enumerate(found, start=1):
                by_class, by_action, moved = _energies(part, layer.energies(), len(labels), m, factors, poses)
                heads.append([specialised(by_action, moved) if moved.shape[1] else _none(by_class, len(targets) - 1),
                              specialised(by_class, labels.astype(int))])  # fmt: skip
                named = dict(zip(_NUMBERS, (*layer.rates(), *layer.sparsity()), strict=True))
                best = np.concatenate([one.best() for one in heads[-1]], 1)
                for row, metric in zip(best, ("head_r2", "head_r2_null", "head_z"), strict=True):
                    named |= {f"{metric}.{target}": value for target, value in zip(targets, row, strict=True)}
                metrics |= {_named(metric, number, name): float(value) for metric, value in named.items()}
            arrays |= {
                f"layer_rates/{name}": np.stack([layer.rates() for layer in found], 1),
                f"layer_codes/{name}": np.stack([layer.sparsity() for layer in found], 1),
                f"atom_use/{name}": np.stack([np.sort(layer.use())[::-1] for layer in found]),
                f"head_r2/{name}": np.stack([np.concatenate([one.r2 for one in pair], 1) for pair in heads]),
                f"head_best/{name}": np.stack([np.concatenate([one.best() for one in pair], 1) for pair in heads]),
            }
        return Summary(metrics, arrays)


_NUMBERS = (
    "rate", "rate_within", "rate_after", "rate_within_after", "code_l0", "code_zeros", "dead_atoms", "atom_entropy",
)  # fmt: skip


def _named(metric: str, layer: int, part: str) -> str:
    """``head_r2.class`` of layer 2 is ``head_r2.layer2.class/part``."""
    stem, _, target = metric.partition(".")
    return f"{stem}.layer{layer}{'.' if target else ''}{target}/{part}"


def _see(layers: list[Layer], views: int, number: int, opened: Opened) -> None:
    """One chunk; the encoder is given the first view of all its sequences, then the second."""

    def rows(tokens: Tensor) -> np.ndarray:
        return as_double(tokens.unflatten(0, (views, -1)).transpose(0, 1).flatten(0, 1))

    layers[number].add(rows(opened.read), rows(opened.moved), as_double(opened.directions), rows(opened.code))


def _none(energies: np.ndarray, targets: int) -> Specialised:
    """Where no token holds an action, no head can be about one."""
    return Specialised(np.zeros((energies.shape[2], targets)), np.zeros((1, targets)))


def _energies(
    part: str, energies: np.ndarray, n: int, m: int, factors: np.ndarray, poses: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Energies (n, T, h) of the tokens that show the image, those of the tokens that hold a component, and these
    components (n, T, P)."""
    if part == "encoder":  # all patches of a view
        views = energies.mean(1).reshape(n, m, -1)
        return views, views, poses[:, :m]
    if part.startswith("aggregator"):
        return energies[:, 1:], energies[:, 1:m], factors[:, : m - 1]
    return energies[:, :1], energies[:, 1:], factors[:, m - 1 : m] if energies.shape[1] > 1 else factors[:, :0]
