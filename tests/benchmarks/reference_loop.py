"""How fast is seq-JEPA written the usual way on this CPU? Run by hand: ``python tests/benchmarks/reference_loop.py``.

The yardstick of the training-step benchmark: CIFAR-100 shapes with the 9-dim crop/jitter/blur action (paper appendix
A.1 and A.2), per-image PIL transforms in a Dataset behind a DataLoader, fp32, stock modules, and one optimiser each for
the model, the linear probe and the action probe. Nothing is slowed down on purpose: every line is the default way to
write it in torch and torchvision. Images are random bytes, so nothing is downloaded and no accuracy is measured.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.transforms import InterpolationMode, transforms
from torchvision.transforms import functional as TF

VIEWS, BATCH, SIDE, CLASSES = 3, 64, 32, 100
ACTION, EMBEDDED, FEATURES = 9, 128, 512
MEAN, STD = (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)
EMA_DECAY = 0.996


class Augmentation:
    """One random view of a PIL image and its 9 parameters: crop (i, j, h, w), jitter (b, c, s, hue), blur sigma."""

    def __init__(self, blur: float, solarize: float):
        self.blur, self.solarize = blur, solarize
        self.jitter = transforms.ColorJitter(0.4, 0.4, 0.2, 0.1)

    def __call__(self, image: Image.Image) -> tuple[Tensor, Tensor]:
        crop = transforms.RandomResizedCrop.get_params(image, (0.2, 1.0), (3 / 4, 4 / 3))
        image = TF.resized_crop(image, *crop, [SIDE, SIDE], InterpolationMode.BICUBIC)
        if torch.rand(1) < 0.5:
            image = TF.hflip(image)
        jitter = (1.0, 1.0, 1.0, 0.0)
        if torch.rand(1) < 0.8:
            image, jitter = self._jittered(image)
        if torch.rand(1) < 0.2:
            image = TF.rgb_to_grayscale(image, 3)
        sigma = 0.0
        if torch.rand(1) < self.blur:
            sigma = transforms.GaussianBlur.get_params(0.1, 2.0)
            image = TF.gaussian_blur(image, 3, sigma)
        if torch.rand(1) < self.solarize:
            image = TF.solarize(image, 128)
        pixels = TF.normalize(TF.to_tensor(image), MEAN, STD)
        return pixels, torch.tensor([*crop, *jitter, sigma], dtype=torch.float32)

    def _jittered(self, image: Image.Image) -> tuple[Image.Image, tuple[float, ...]]:
        jitter = self.jitter
        order, *factors = jitter.get_params(jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
        adjust = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
        for which in order:
            image = adjust[which](image, factors[which])
        return image, tuple(factors)


class Sequences(Dataset):
    """Random CIFAR-sized images as M observed views and one target view, with the actions between them."""

    def __init__(self, length: int):
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, (length, SIDE, SIDE, 3), generator=generator, dtype=torch.uint8).numpy()
        self.labels = torch.randint(0, CLASSES, (length,), generator=generator).tolist()
        self.observed = Augmentation(blur=1.0, solarize=0.0)
        self.target = Augmentation(blur=0.1, solarize=0.2)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        """(M+1, 3, 32, 32) views, (M, 9) relative actions, label."""
        image = Image.fromarray(self.images[index])
        views, parameters = zip(*([self.observed(image) for _ in range(VIEWS)] + [self.target(image)]), strict=True)
        return torch.stack(views), torch.stack(parameters).diff(dim=0), self.labels[index]


class Model(nn.Module):
    """Encoder, moving-average teacher, action projector, aggregator and predictor (paper section 3, appendix A.1).

    The sizes are the paper's; tests compare a narrow one with the product, number by number.
    """

    def __init__(self, width: int = 64, embedded: int = EMBEDDED, hidden: int = 1024, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = resnet18(zero_init_residual=True)
        self.encoder.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.encoder.maxpool, self.encoder.fc = nn.Identity(), nn.Identity()
        if width != 64:
            _narrow(self.encoder, width)
        self.teacher = copy.deepcopy(self.encoder).requires_grad_(False)
        self.action = nn.Sequential(nn.Linear(ACTION, embedded, bias=False), nn.BatchNorm1d(embedded, affine=False))
        features = 8 * width
        tokens = features + embedded
        self.token = nn.Parameter(torch.zeros(1, 1, tokens))
        layer = nn.TransformerEncoderLayer(tokens, 4, 4 * tokens, dropout, batch_first=True)
        self.aggregator = nn.TransformerEncoder(layer, 3, nn.LayerNorm(tokens))
        self.predictor = nn.Sequential(
            nn.Linear(tokens + embedded, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, features),
        )
        self.similarity = nn.CosineSimilarity(dim=1)

    def forward(self, views: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, z_agg (B, 640), codes (B, M, 512)."""
        batch = len(views)
        z = self.encoder(views[:, :-1].flatten(0, 1)).view(batch, VIEWS, -1)
        embedded = self.action(actions.flatten(0, 1)).view(batch, VIEWS, -1)
        between = torch.cat([embedded[:, :-1], torch.zeros_like(embedded[:, :1])], dim=1)
        tokens = torch.cat([z, between], dim=2)
        z_agg = self.aggregator(torch.cat([self.token.expand(batch, -1, -1), tokens], dim=1))[:, 0]
        prediction = self.predictor(torch.cat([z_agg, embedded[:, -1]], dim=1))
        with torch.no_grad():
            target = self.teacher(views[:, -1])
        return (1 - self.similarity(prediction, target)).mean(), z_agg, z


def _narrow(encoder: ResNet, width: int) -> None:
    """torchvision's ResNet-18 with ``width`` channels after the stem instead of 64."""
    encoder.inplanes, encoder.bn1 = width, nn.BatchNorm2d(width)
    for stage in range(4):
        layer = encoder._make_layer(BasicBlock, width * 2**stage, 2, stride=1 if stage == 0 else 2)
        setattr(encoder, f"layer{stage + 1}", layer)


class Training:
    """Model, probes and their optimisers; one call is one optimiser step."""

    def __init__(self, device: str = "cpu") -> None:
        torch.manual_seed(0)
        self.device = device
        self.model = Model().train().to(device)
        self.linear = nn.Linear(FEATURES + EMBEDDED, CLASSES).to(device)
        sizes = (2 * FEATURES, 1024, 1024, ACTION)
        self.regressor = nn.Sequential(
            nn.Linear(sizes[0], sizes[1]),
            nn.ReLU(),
            nn.Linear(sizes[1], sizes[2]),
            nn.ReLU(),
            nn.Linear(sizes[2], sizes[3]),
        ).to(device)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, lr=4e-4, weight_decay=1e-3)
        self.linear_optimiser = torch.optim.Adam(self.linear.parameters(), lr=1e-3)
        self.regressor_optimiser = torch.optim.Adam(self.regressor.parameters(), lr=1e-3)

    def __call__(self, views: Tensor, actions: Tensor, labels: Tensor) -> dict[str, float]:
        """The step's losses, as a researcher would log them."""
        views, actions, labels = (item.to(self.device, non_blocking=True) for item in (views, actions, labels))
        loss, z_agg, z = self.model(views, actions)
        _descend(self.optimiser, loss)
        with torch.no_grad():
            for mean, parameter in zip(self.model.teacher.parameters(), self.model.encoder.parameters(), strict=True):
                mean.mul_(EMA_DECAY).add_(parameter, alpha=1 - EMA_DECAY)
        class_loss = nn.functional.cross_entropy(self.linear(z_agg.detach()), labels)
        _descend(self.linear_optimiser, class_loss)
        action_loss = nn.functional.mse_loss(self.regressor(z[:, :2].detach().flatten(1)), actions[:, 0])
        _descend(self.regressor_optimiser, action_loss)
        return {"loss": loss.item(), "class": class_loss.item(), "action": action_loss.item()}


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


@dataclass(frozen=True)
class Speed:
    """One setting's sequences per second: the median over steps, and over all steps together."""

    threads: int
    workers: int
    median: float
    mean: float


def measure(
    threads: int = 1, workers: int = 0, steps: int = 4, warmup: int = 1, device: str = "cpu", batch: int = BATCH
) -> Speed:
    """Train ``warmup + steps`` steps and time the last ``steps``, loading included.

    Args:
        threads: torch threads of the training process; loader workers have one each.
        workers: DataLoader worker processes; 0 renders in the training process.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        batches, training = _batches(workers, warmup + steps, batch, device != "cpu"), Training(device)
        for _ in range(warmup):
            training(*next(batches))
        clocks = [time.perf_counter()]
        for _ in range(steps):
            training(*next(batches))
            clocks.append(time.perf_counter())
    finally:
        torch.set_num_threads(before)
    seconds = torch.tensor(clocks, dtype=torch.float64).diff()
    return Speed(threads, workers, batch / float(seconds.median()), batch * steps / float(seconds.sum()))


def _batches(workers: int, count: int, batch: int, pin: bool) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    # more batches than are used: a run's end must not leave the workers idle while the last steps are timed
    data = Sequences((count + 4) * batch)
    return iter(DataLoader(data, batch, shuffle=True, num_workers=workers, drop_last=True, pin_memory=pin))


def best(
    threads: tuple[int, ...] = (1, 2), workers: tuple[int, ...] = (0, 1, 2), steps: int = 4, warmup: int = 1
) -> list[Speed]:
    """Every combination, one after the other in this process, fastest first by the mean over all timed steps."""
    speeds = [measure(thread, worker, steps, warmup) for thread in threads for worker in workers]
    return sorted(speeds, key=lambda speed: -speed.mean)


def gemm_peak(dtype: torch.dtype, threads: int, size: int = 2048, repeats: int = 12) -> float:
    """The machine's yardstick: TFLOP/s of the fastest of several ``size``^3 matrix products."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        a, b = (torch.randn(size, size).to(dtype) for _ in range(2))
        seconds = []
        for _ in range(repeats):
            clock = time.perf_counter()
            torch.mm(a, b)
            seconds.append(time.perf_counter() - clock)
    finally:
        torch.set_num_threads(before)
    return 2 * size**3 / min(seconds) / 1e12


def main(argv: list[str]) -> None:
    if argv:  # one setting, for a script that compares: threads workers steps device batch
        threads, workers, steps, device, batch = argv
        print(measure(int(threads), int(workers), int(steps), 2, device, int(batch)).mean)
        return
    for dtype in (torch.float32, torch.bfloat16):
        print(f"GEMM {str(dtype)[6:]:<9}" + "".join(f"  {n} threads {gemm_peak(dtype, n):.2f} TFLOP/s" for n in (1, 2)))
    print(f"{'threads':>8}{'workers':>9}{'seq/s':>9}{'median':>9}")
    for speed in best():
        print(f"{speed.threads:>8}{speed.workers:>9}{speed.mean:>9.2f}{speed.median:>9.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
