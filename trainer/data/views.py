"""Batches of views and actions: the data side's single door to the loop.

A batch is a dict:

``observed``  list of M tensors (B, C, H, W)
``target``    list with the view to predict
``actions``   (B, M, A): actions[:, i] leads from view i to view i+1, the last one to the target
``labels``    (B,) class, and ``index`` (B,) position in the image set; for probes only
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trainer.config import RunConfig
from trainer.data import poses
from trainer.data.images import ImageSet
from trainer.data.philox import Purpose, permutation, uniforms
from trainer.errors import UsageError

Batch = dict[str, Any]


class Views:
    """Renders training batches in a fixed random order, and fixed views for evaluation.

    Every batch is a function of (seed, step); ``state_dict`` holds only the step.

    Args:
        images: the image set on the training device.
        rank, world: this worker renders rows ``rank::world`` of every global batch.
    """

    def __init__(self, config: RunConfig, images: ImageSet, dtype: torch.dtype, rank: int = 0, world: int = 1):
        if config.optim.batch_size % world:
            raise UsageError(f"optim.batch_size = {config.optim.batch_size} must be divisible by the {world} workers")
        self._config, self._images, self._dtype = config, images, dtype
        self._rank, self._world = rank, world
        self._device = images.images.device
        self._order: tuple[int, Tensor] | None = None
        self.step = 0
        self.action_dim = 2 if config.data.transform == "rotation" else 5
        self._action_std = self._training_std() if config.data.action_scale == "feature_std" else None

    def next(self) -> Batch:
        """This worker's share of the next training batch."""
        config, train = self._config, self._images.splits["train"]
        epoch, position = divmod(self.step, config.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            draws = len(train) * config.data.draws_per_epoch
            self._order = (epoch, permutation(config.seed, epoch, draws, self._device))
        size = config.optim.batch_size
        draw = self._order[1][position * size : (position + 1) * size][self._rank :: self._world]
        self.step += 1
        # a draw keeps its random numbers wherever the order puts it
        return self._batch(train[draw % len(train)], draw, config.seed, Purpose.TRAIN_VIEWS, epoch)

    def fixed(self, split: str, draws: int = 1) -> Batch:
        """The same views of a whole split for every run, seed and epoch.

        Args:
            draws: how many sequences of each image, one set after the other.

        Returns:
            A batch that also holds ``poses``, (draws * n, M+1, P): the absolute pose of every view.
        """
        index = self._images.splits[split]
        sets = [self._batch(index, index, 0, Purpose.FIXED_VIEWS, draw, with_poses=True) for draw in range(draws)]
        joined: Batch = {}
        for name, first in sets[0].items():
            columns = [batch[name] for batch in sets]
            if isinstance(first, list):
                joined[name] = [torch.cat(views) for views in zip(*columns, strict=True)]
            else:
                joined[name] = torch.cat(columns)
        return joined

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]

    def _batch(self, index: Tensor, draw: Tensor, seed: int, purpose: Purpose, epoch: int, with_poses: bool = False) -> Batch:
        count = self._config.data.observed_views + 1
        pose = self._poses(draw, seed, purpose, epoch)
        pixels = self._images.images[index].to(self._dtype) / 255
        # view-major, so that each view is one contiguous tensor
        flat = poses.Poses(pose.angle.T.reshape(-1), pose.shift.transpose(0, 1).reshape(-1, 2), pose.log_scale.T.reshape(-1))
        rendered = poses.render(pixels.repeat(count, 1, 1, 1), flat, self._config.data)
        *observed, target = rendered.view(count, len(index), *rendered.shape[1:]).unbind(0)
        actions = self._actions(pose)
        batch = {"observed": observed, "target": [target], "labels": self._images.labels[index], "index": index}
        batch["actions"] = (actions if self._action_std is None else actions / self._action_std).to(self._dtype)
        if with_poses:
            batch["poses"] = pose.parameters(self._config.data.transform).to(self._dtype)
        return batch

    def _poses(self, draw: Tensor, seed: int, purpose: Purpose, epoch: int) -> poses.Poses:
        count = self._config.data.observed_views + 1
        numbers = uniforms(seed, purpose, epoch, draw, 4 * count)
        return poses.draw(self._config.data, numbers.view(len(draw), count, 4))

    def _actions(self, pose: poses.Poses) -> Tensor:
        return poses.relative(pose[:, :-1], pose[:, 1:]).parameters(self._config.data.transform)

    def _training_std(self) -> Tensor:
        """Per-component standard deviation over 4,096 fixed draws: about 1 % accurate, and a constant."""
        draw = torch.arange(4096, device=self._device)
        actions = self._actions(self._poses(draw, 0, Purpose.FIXED_VIEWS, 2**31))
        std = actions.flatten(0, 1).cpu().double().std(0)  # on the CPU: MPS has no double precision
        return torch.where(std > 1e-6, std, 1.0).float().to(self._device)
