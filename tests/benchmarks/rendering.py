"""Are our batched augmentations right and fast? Run by hand: ``python tests/benchmarks/rendering.py``.

Times each operation and the whole chain (crop, jitter, grey, blur, solarise; every image with its own
parameters) on a batch of 256 RGB images of 32 x 32 on one thread: ours, torchvision image by image, and kornia
where it can be imported. The timings of the three alternate; the medians are printed in milliseconds per image,
with the errors against torchvision in units of 1/255. A quarter of a minute.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import torch
import torchvision
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from trainer.data.blur import gaussian_blur
from trainer.data.crops import CROP_NUMBERS, crop_boxes, resized_crop
from trainer.data.photometric import color_jitter, grayscale, permutations, solarize

try:
    import kornia
except ImportError:
    kornia = None

BATCH, SIZE, REPEATS, THRESHOLD, KERNEL = 256, 32, 31, 128 / 255, 3
STEPS = ("crop", "jitter", "grey", "blur", "solarise")
Renderer = Callable[[str, Tensor, dict[str, Tensor]], Tensor]


def draw() -> tuple[Tensor, dict[str, Tensor]]:
    """Patches of photographs and the paper's parameters: observed views, but grey and solarised 20 % of the time."""
    from sklearn.datasets import load_sample_images

    torch.manual_seed(0)
    photographs = [torch.tensor(image).permute(2, 0, 1) / 255 for image in load_sample_images().images]
    places = torch.rand(BATCH, 2).tolist()
    patches = []
    for number, (down, right) in enumerate(places):
        photograph = photographs[number % 2]
        top, left = int(down * (photograph.shape[1] - SIZE)), int(right * (photograph.shape[2] - SIZE))
        patches.append(photograph[:, top : top + SIZE, left : left + SIZE])
    ranges = {"b": (0.6, 1.4), "c": (0.6, 1.4), "s": (0.8, 1.2), "h": (-0.1, 0.1), "sigma": (0.1, 2)}
    shares = {"jitter": 0.8, "grey": 0.2, "blur": 1.0, "solarise": 0.2, "flip": 0.5}
    p = {name: low + (high - low) * torch.rand(BATCH) for name, (low, high) in ranges.items()}
    p |= {name: torch.rand(BATCH) < share for name, share in shares.items()}
    p |= {"order": permutations(torch.rand(BATCH, 1)), "box": crop_boxes(torch.rand(BATCH, CROP_NUMBERS), SIZE, SIZE)}
    return torch.stack(patches), p


def ours(step: str, x: Tensor, p: dict[str, Tensor]) -> Tensor:
    match step:
        case "crop":
            return resized_crop(x, p["box"], SIZE, p["flip"]).clamp_(0, 1)
        case "jitter":
            return color_jitter(x, p["b"], p["c"], p["s"], p["h"], p["order"], p["jitter"])
        case "grey":
            return grayscale(x, p["grey"])
        case "blur":
            return gaussian_blur(x, p["sigma"], KERNEL, p["blur"])
    return solarize(x, THRESHOLD, p["solarise"])


def with_torchvision(step: str, x: Tensor, p: dict[str, Tensor]) -> Tensor:
    lists = {name: values.tolist() for name, values in p.items()}
    return torch.stack([_torchvision(step, image, i, lists) for i, image in enumerate(x)])


def _torchvision(step: str, x: Tensor, i: int, p: dict[str, list]) -> Tensor:
    if step == "crop":
        box = (int(side) for side in p["box"][i])
        x = F.resized_crop(x, *box, [SIZE, SIZE], InterpolationMode.BICUBIC, antialias=True).clamp_(0, 1)
        return F.horizontal_flip(x) if p["flip"][i] else x
    if not p[step][i]:
        return x
    match step:
        case "jitter":
            adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
            for operation in p["order"][i]:
                x = adjust[operation](x, p["bcsh"[operation]][i])
            return x
        case "grey":
            return F.rgb_to_grayscale(x, 3)
        case "blur":
            return F.gaussian_blur(x, KERNEL, p["sigma"][i])
    return F.solarize(x, THRESHOLD)


def with_kornia(step: str, x: Tensor, p: dict[str, Tensor]) -> Tensor:
    """Kornia's functions on the rows that need them; it has no jitter whose order differs within a batch."""
    if step == "crop":
        # its cropping by a box aligns corners; this transformation aligns pixel edges, as torchvision does
        top, left, height, width = p["box"].unbind(-1)
        matrix = torch.zeros(len(x), 3, 3)
        matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 2, 2] = SIZE / width, SIZE / height, 1
        matrix[:, 0, 2], matrix[:, 1, 2] = (0.5 - left) * SIZE / width - 0.5, (0.5 - top) * SIZE / height - 0.5
        geometry = kornia.geometry.transform
        x = geometry.warp_perspective(x, matrix, (SIZE, SIZE), mode="bicubic", padding_mode="border").clamp_(0, 1)
        x[p["flip"]] = geometry.hflip(x[p["flip"]])
        return x
    x = x.clone()
    on = p[step].nonzero().squeeze(1)
    match step:
        case "jitter":
            enhance = kornia.enhance
            adjust = (
                enhance.adjust_brightness_accumulative,
                enhance.adjust_contrast_with_mean_subtraction,
                enhance.adjust_saturation_with_gray_subtraction,
                lambda rows, turns: enhance.adjust_hue(rows, turns * 2 * torch.pi),
            )
            for position in range(4):
                for operation in range(4):
                    rows = on[p["order"][on, position] == operation]
                    x[rows] = adjust[operation](x[rows], p["bcsh"[operation]][rows])
        case "grey":
            x[on] = kornia.color.rgb_to_grayscale(x[on]).expand(-1, 3, -1, -1)
        case "blur":
            x[on] = kornia.filters.gaussian_blur2d(x[on], KERNEL, p["sigma"][on, None].expand(-1, 2))
        case _:
            x[on] = kornia.enhance.solarize(x[on], THRESHOLD)
    return x


def chain(renderer: Renderer, steps: tuple[str, ...], images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    for step in steps:
        images = renderer(step, images, parameters)
    return images


def main() -> None:
    torch.set_num_threads(1)
    renderers: dict[str, Renderer] = {"ours": ours, "torchvision": with_torchvision}
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    if kornia is not None:
        renderers["kornia"], versions = with_kornia, f"{versions}, kornia {kornia.__version__}"
    print(
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, Python {platform.python_version()},"
        f" {versions}"
    )
    print(f"{BATCH} images of {SIZE} x {SIZE}, one thread, n = {REPEATS} alternating timings")
    print(
        f"{'operation':<12}{'renderer':<13}{'ms/image':>10}{'/ ours':>9}{'mean err':>11}{'max err':>11}{'within 2':>11}"
    )
    source, parameters = draw()
    for steps in (*((step,) for step in STEPS), STEPS):
        images = source if steps[0] == "crop" else chain(with_torchvision, ("crop",), source, parameters)
        seconds: dict[str, list[float]] = {name: [] for name in renderers}
        results = {name: chain(renderer, steps, images, parameters) for name, renderer in renderers.items()}
        for _ in range(REPEATS):
            for name, renderer in renderers.items():
                start = time.perf_counter()
                chain(renderer, steps, images, parameters)
                seconds[name].append(time.perf_counter() - start)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        for name, result in results.items():
            error = (result - results["torchvision"]).abs() * 255
            errors = f"{error.mean():>11.2g}{error.max():>11.2g}{100 * (error <= 2).double().mean():>10.2f}%"
            label = steps[0] if len(steps) == 1 else "whole chain"
            times = f"{1000 * median[name] / BATCH:>10.4f}{median[name] / median['ours']:>9.1f}"
            print(f"{label:<12}{name:<13}{times}{'' if name == 'torchvision' else errors}")


if __name__ == "__main__":
    main()
