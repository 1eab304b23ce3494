"""Batched image augmentations against torchvision's operation on one image at a time."""

import colorsys
import itertools
import math

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as tv
from torchvision.transforms.v2 import functional as F

from trainer.data import photometric, rows
from trainer.data.blur import gaussian_blur
from trainer.data.crops import CROP_NUMBERS, crop_boxes, resized_crop
from trainer.data.photometric import color_jitter, grayscale, permutations, solarize

SIZES = (32, 64)
COUNT = 240


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def uniform(low, high, seed):
    return low + (high - low) * random(COUNT, seed=seed)


@pytest.fixture(scope="module")
def photographs():
    from sklearn.datasets import load_sample_images

    return [torch.tensor(image).permute(2, 0, 1) / 255 for image in load_sample_images().images]


@pytest.fixture(scope="module", params=SIZES)
def images(request, photographs):
    """(COUNT, 3, S, S): noise, patches of photographs, noise reduced to grey, and pure colours."""
    size, patches = request.param, []
    corners = random(COUNT // 2, 2, seed=1)
    for number, (down, right) in enumerate(corners.tolist()):
        photograph = photographs[number % 2][:, :: 1 + number // 2 % 3, :: 1 + number // 2 % 3]
        top, left = int(down * (photograph.shape[1] - size)), int(right * (photograph.shape[2] - size))
        patches.append(photograph[:, top : top + size, left : left + size])
    noise = random(COUNT // 3, 3, size, size, seed=2)
    grey = random(COUNT // 12, 1, size, size, seed=3).expand(-1, 3, -1, -1)
    pure = random(COUNT // 12, 3, size, size, seed=4).round()
    mixed = torch.cat([torch.stack(patches), noise, grey, pure])
    assert mixed.shape == (COUNT, 3, size, size)
    return mixed[random(COUNT, seed=5).argsort()].contiguous()


def reference(images, operation, *parameters):
    """``operation(image, *parameters of this image)``, one image after the other."""
    lists = [parameter.tolist() for parameter in parameters]
    return torch.stack([operation(image, *row) for image, row in zip(images, zip(*lists, strict=True), strict=True)])


def assert_same(ours, theirs, most=1e-5):
    error = (ours - theirs).abs()
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert float(error.mean()) <= 1 / 255 and float((error <= 2 / 255).double().mean()) >= 0.999
    assert float(error.max()) <= most, f"largest error {float(error.max()):.3g}"


def everywhere(count=COUNT):
    return torch.ones(count, dtype=torch.bool)


def torchvision_crop(size):
    def crop(image, top, left, height, width, flip):
        numbers = (int(number) for number in (top, left, height, width))
        cropped = F.resized_crop(image, *numbers, [size, size], InterpolationMode.BICUBIC, antialias=True)
        return F.horizontal_flip(cropped) if flip else cropped

    return crop


ADJUST = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)


def torchvision_jitter(image, *parameters):
    factors, order, on = parameters[:4], parameters[4], parameters[5]
    for operation in order if on else ():
        image = ADJUST[operation](image, factors[operation])
    return image


def boxes_and_flips(size, seed=10):
    """Random boxes, and among them the whole image, boxes along each edge and boxes of one to three pixels."""
    boxes = crop_boxes(random(COUNT, CROP_NUMBERS, seed=seed), size, size)
    last = size - 1
    special = [
        (0, 0, size, size),
        (0, 0, 1, 1),
        (last, last, 1, 1),
        (0, last - 1, 3, 2),
        (0, 5, size, 1),
        (7, 0, 1, size),
    ]
    special += [
        (0, 0, size // 2, size),
        (size // 2, 0, size // 2, size),
        (3, size // 2, size - 3, size // 2),
        (5, 9, 2, 3),
    ]
    boxes[: 2 * len(special)] = torch.tensor(special, dtype=torch.float32).repeat(2, 1)
    flip = random(COUNT, seed=seed + 1) < 0.5
    flip[: len(special)], flip[len(special) : 2 * len(special)] = True, False
    return boxes, flip


def jitter_parameters(seed=20):
    ranges = ((0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1))
    factors = [uniform(low, high, seed + number) for number, (low, high) in enumerate(ranges)]
    order = permutations(random(COUNT, 1, seed=seed + 4))
    return *factors, order, random(COUNT, seed=seed + 5) < 0.8


@pytest.mark.parametrize("output", SIZES)
@pytest.mark.parametrize("dtype, most", [(torch.float32, 5e-6), (torch.float64, 1e-12)])
def test_a_crop_is_torchvisions(images, output, dtype, most):
    images = images.to(dtype)
    boxes, flip = boxes_and_flips(images.shape[-1])
    theirs = reference(images, torchvision_crop(output), *boxes.T, flip)
    assert_same(resized_crop(images, boxes, output, flip), theirs, most)


def test_the_whole_image_at_its_own_size_is_the_image_or_its_mirror_image(images):
    size = images.shape[-1]
    boxes = torch.tensor([0.0, 0, size, size]).expand(COUNT, 4)
    assert torch.equal(resized_crop(images, boxes, size, ~everywhere()), images)
    assert torch.equal(resized_crop(images, boxes, size, everywhere()), images.flip(-1))


def test_an_image_need_not_be_square_nor_coloured():
    images = random(COUNT, 1, 20, 50, seed=6)
    boxes = crop_boxes(random(COUNT, CROP_NUMBERS, seed=7), 20, 50)
    flip = random(COUNT, seed=8) < 0.5
    assert_same(resized_crop(images, boxes, 24, flip), reference(images, torchvision_crop(24), *boxes.T, flip), 5e-6)


def test_several_views_of_each_image_equal_views_of_repeated_images():
    images = random(10, 3, 32, 32)
    boxes, flip = crop_boxes(random(2, 3, 10, CROP_NUMBERS), 32, 32), random(2, 3, 10) < 0.5
    views = resized_crop(images, boxes, 24, flip)
    repeated = resized_crop(images.repeat(6, 1, 1, 1), boxes.view(60, 4), 24, flip.view(60))
    assert views.shape == (2, 3, 10, 3, 24, 24) and float((views.flatten(0, 2) - repeated).abs().max()) < 1e-6


@pytest.mark.parametrize("size", SIZES)
def test_boxes_follow_torchvisions_distribution(size):
    count = 20_000
    ours = crop_boxes(random(count, CROP_NUMBERS), size, size).double()
    make = tv.RandomResizedCrop(size, scale=(0.2, 1.0))
    image = torch.empty(3, size, size)
    torch.manual_seed(0)
    drawn = [make.make_params([image]) for _ in range(count // 2)]
    theirs = torch.tensor([[box[key] for key in ("top", "left", "height", "width")] for box in drawn]).double()

    def moments(sample):
        centred = sample - sample.mean(0)
        variance, fourth = centred.square().mean(0), centred.pow(4).mean(0)
        cross = centred.T @ centred / len(sample)
        return sample.mean(0), variance / len(sample), variance, (fourth - variance**2) / len(sample), cross

    mean, mean_error, variance, variance_error, cross = moments(ours)
    their_mean, their_mean_error, their_variance, their_variance_error, their_cross = moments(theirs)
    assert float(((mean - their_mean) / (mean_error + their_mean_error).sqrt()).abs().max()) < 4
    assert float(((variance - their_variance) / (variance_error + their_variance_error).sqrt()).abs().max()) < 4
    correlation, theirs_too = (c / c.diag().outer(c.diag()).sqrt() for c in (cross, their_cross))
    assert float((correlation - theirs_too).abs().max()) < 0.05


@pytest.mark.parametrize(
    "height, width, scale", [(32, 32, (0.2, 1.0)), (40, 60, (0.3, 0.9)), (10, 100, (0.5, 1.0)), (100, 11, (0.9, 1.0))]
)
def test_a_box_is_the_first_attempt_that_fits_else_the_centre(height, width, scale):
    numbers = random(500, CROP_NUMBERS, seed=9).double()
    central = 0
    for row, box in zip(numbers.tolist(), crop_boxes(numbers, height, width, scale).tolist(), strict=True):
        for attempt in range(10):
            area = height * width * (scale[0] + row[2 * attempt] * (scale[1] - scale[0]))
            aspect = 0.75 * (16 / 9) ** row[2 * attempt + 1]
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                expected = [int(row[-2] * (height - h + 1)), int(row[-1] * (width - w + 1)), h, w]
                break
        else:
            central += 1
            params = tv.RandomResizedCrop(8, scale=(50.0, 60.0)).make_params([torch.empty(3, height, width)])
            expected = [params[key] for key in ("top", "left", "height", "width")]
        assert box == expected
    assert (central > 0) == (height != 32 and width != 60)


def test_extreme_numbers_stay_inside_the_image():
    for numbers in (torch.zeros(1, CROP_NUMBERS), torch.full((1, CROP_NUMBERS), 1 - 2.0**-24)):
        for size in range(1, 70):
            top, left, height, width = crop_boxes(numbers, size, size)[0].tolist()
            assert 0 <= top <= size - height < size and 0 <= left <= size - width < size


@pytest.mark.parametrize("operation", range(4))
def test_each_colour_operation_is_torchvisions(images, operation):
    low, high = [(0.0, 2.5), (0.0, 2.5), (0.0, 2.5), (-0.5, 0.5)][operation]
    values = uniform(low, high, 30)
    extremes = torch.tensor([low, high, -0.1, 0.1, 0.0] if operation == 3 else [low, high, 1.0])
    values[: 20 * len(extremes)] = extremes.repeat(20)
    factors = [torch.ones(COUNT), torch.ones(COUNT), torch.ones(COUNT), torch.zeros(COUNT)]
    factors[operation] = values
    for first in range(4):
        # wherever it stands among operations that do nothing
        order = (
            torch.tensor([operation, *(other for other in range(4) if other != operation)]).roll(first).repeat(COUNT, 1)
        )
        ours = color_jitter(images, *factors, order, everywhere())
        assert_same(ours, reference(images, ADJUST[operation], values), 2e-6)


def test_jitter_in_each_images_own_order_is_torchvisions(images):
    parameters = jitter_parameters()
    assert_same(color_jitter(images, *parameters), reference(images, torchvision_jitter, *parameters), 5e-6)
    # the order matters, so a wrong one would be seen
    *factors, order, on = parameters
    wrong = color_jitter(images, *factors, order.flip(1), on)
    assert float((wrong - color_jitter(images, *parameters)).abs().amax((1, 2, 3)).median()) > 0.01


def test_every_order_is_served(images):
    orders = torch.tensor(list(itertools.permutations(range(4))))
    *factors, _, _ = jitter_parameters(40)
    order = orders.repeat(COUNT // 24, 1)
    strong = [1 + 3 * (factor - 1) for factor in factors[:3]] + [4 * factors[3]]
    parameters = (*(factor.clamp(min=-0.5 if factor is strong[3] else 0) for factor in strong), order, everywhere())
    assert_same(color_jitter(images, *parameters), reference(images, torchvision_jitter, *parameters), 1e-5)


def test_hue_in_double_precision_is_the_colour_circles():
    images, hue = random(COUNT, 3, 2, 2).double(), uniform(-0.5, 0.5, 50).double()
    images[:20, 1] = images[:20, 0]
    images[20:40] = images[20:40, :1]
    images[40:60] = images[40:60].round()
    one, order = torch.ones(COUNT).double(), torch.tensor([3, 0, 1, 2]).repeat(COUNT, 1)
    shifted = color_jitter(images, one, one, one, hue, order, everywhere())
    for pixels, turned, shift in zip(images.flatten(2), shifted.flatten(2), hue.tolist(), strict=True):
        for pixel, result in zip(pixels.T.tolist(), turned.T.tolist(), strict=True):
            h, s, v = colorsys.rgb_to_hsv(*pixel)
            assert result == pytest.approx(colorsys.hsv_to_rgb((h + shift) % 1, s, v), abs=1e-12)
    assert torch.equal(shifted[20:40], images[20:40])


def test_single_channel_images_are_treated_as_torchvision_does():
    images, parameters = random(COUNT, 1, 16, 16), jitter_parameters()
    assert_same(color_jitter(images, *parameters), reference(images, torchvision_jitter, *parameters), 2e-6)
    assert torch.equal(grayscale(images, everywhere()), images)


def test_grey_and_solarised_images_are_torchvisions(images):
    on = random(COUNT, seed=60) < 0.4
    grey = reference(images, lambda image, on: F.rgb_to_grayscale(image, 3) if on else image, on)
    assert_same(grayscale(images, on), grey, 2e-7)
    for threshold in (0.0, 0.5, 128 / 255, 1.0):
        inverted = reference(images, lambda image, on: F.solarize(image, threshold) if on else image, on)
        assert torch.equal(solarize(images, threshold, on), inverted)


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("dtype, most", [(torch.float32, 2e-6), (torch.float64, 1e-6)])
def test_blur_is_torchvisions(images, kernel_size, dtype, most):
    images, on, sigma = images.to(dtype), random(COUNT, seed=61) < 0.7, uniform(0.1, 2, 62)
    blurred = reference(images, lambda image, s, on: F.gaussian_blur(image, kernel_size, s) if on else image, sigma, on)
    assert_same(gaussian_blur(images, sigma, kernel_size, on), blurred, most)


def test_blur_mirrors_narrow_images_and_width_zero_does_nothing():
    images, sigma = random(COUNT, 3, 4, 9), uniform(0.1, 2, 63)
    theirs = reference(images, lambda image, s: F.gaussian_blur(image, 7, s), sigma)
    assert_same(gaussian_blur(images, sigma, 7, everywhere()), theirs, 2e-6)
    assert torch.equal(gaussian_blur(images, torch.zeros(COUNT), 7, everywhere()), images)


def test_orders_are_the_24_permutations_equally_often():
    orders = permutations(((torch.arange(2400) + 0.5) / 2400)[:, None])
    found, counts = orders.unique(dim=0, return_counts=True)
    assert found.tolist() == [list(order) for order in itertools.permutations(range(4))]
    assert counts.unique().tolist() == [100]
    assert permutations(torch.tensor([1 - 2.0**-24])).tolist() == [3, 2, 1, 0]


def chain_parameters(size, seed=70):
    boxes, flip = boxes_and_flips(size, seed)
    switches = [random(COUNT, seed=seed + 10 + number) < share for number, share in enumerate((0.2, 0.8, 0.2))]
    return (boxes, flip, *jitter_parameters(seed + 2), *switches, uniform(0.1, 2, seed + 20))


def chain(images, boxes, flip, brightness, contrast, saturation, hue, order, jittered, grey, blurred, inverted, sigma):
    images = resized_crop(images, boxes, images.shape[-1], flip).clamp(0, 1)
    images = color_jitter(images, brightness, contrast, saturation, hue, order, jittered)
    images = gaussian_blur(grayscale(images, grey), sigma, 3, blurred)
    return solarize(images, 128 / 255, inverted)


def torchvision_chain(image, *parameters):
    box, jitter, (grey, blurred, inverted, sigma) = parameters[:5], parameters[5:11], parameters[11:]
    image = torchvision_crop(image.shape[-1])(image, *box).clamp(0, 1)
    image = torchvision_jitter(image, *jitter)
    image = F.rgb_to_grayscale(image, 3) if grey else image
    image = F.gaussian_blur(image, 3, sigma) if blurred else image
    return F.solarize(image, 128 / 255) if inverted else image


def test_the_whole_chain_is_torchvisions(images):
    boxes, *others = chain_parameters(images.shape[-1])
    theirs = reference(images, torchvision_chain, *boxes.T, *others)
    ours = chain(images, boxes, *others)
    error = (ours - theirs).abs()
    # solarisation jumps by 1/255 at its threshold, so single pixels may land on the other side of it
    assert_same(ours, theirs, 1.5 / 255)
    assert float((error <= 1e-5).double().mean()) > 0.9999


def test_rows_that_are_off_and_the_inputs_stay_as_they_are(images):
    before, off = images.clone(), ~everywhere()
    *factors, order, _ = jitter_parameters()
    sigma = torch.zeros(COUNT)
    unchanged = [color_jitter(images, *factors, order, off), grayscale(images, off), solarize(images, 0.5, off)]
    unchanged.append(gaussian_blur(images, sigma, 3, off))
    assert all(torch.equal(result, before) for result in unchanged)
    chain(images, *chain_parameters(images.shape[-1]))
    assert torch.equal(images, before)


def test_an_images_bits_do_not_depend_on_its_batch(images):
    parameters = chain_parameters(images.shape[-1])
    together = chain(images, *parameters)
    for share in (slice(0, None, 2), slice(7, 12), slice(100, 101), slice(0, 0)):
        assert torch.equal(chain(images[share], *(parameter[share] for parameter in parameters)), together[share])


def every_row(monkeypatch):
    """Compute every row, as on an accelerator."""
    for module in (rows, photometric):
        monkeypatch.setattr(module, "selects_rows", lambda images: False)


def test_computing_every_row_gives_the_same_images(images, monkeypatch):
    parameters = chain_parameters(images.shape[-1])
    selected = chain(images, *parameters)
    every_row(monkeypatch)
    assert torch.equal(chain(images, *parameters), selected)


def test_nothing_is_read_back_from_an_accelerator():
    # a meta tensor has no values: whatever waits for one fails
    parameters = [parameter.to("meta") for parameter in chain_parameters(32)]
    assert chain(torch.empty(COUNT, 3, 32, 32, device="meta"), *parameters).shape == (COUNT, 3, 32, 32)
    assert crop_boxes(torch.empty(5, CROP_NUMBERS, device="meta"), 32, 32).shape == (5, 4)
    assert permutations(torch.empty(5, 1, device="meta")).shape == (5, 4)


def test_the_chain_is_one_compiled_graph():
    images, parameters = random(COUNT, 3, 32, 32), chain_parameters(32)
    compiled = torch.compile(chain, backend="aot_eager", fullgraph=True)
    assert_same(compiled(images, *parameters), chain(images, *parameters), 1e-5)


@pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="the device's own arithmetic: needs CUDA, run by make gpu; the path it takes runs above on meta tensors",
)
def test_cuda_gives_the_same_images_without_waiting():
    images, parameters = random(COUNT, 3, 32, 32), chain_parameters(32)
    there = [parameter.cuda() for parameter in (images, *parameters)]
    numbers = random(COUNT, CROP_NUMBERS).cuda()
    chain(*there)  # libraries may wait the first time
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = chain(*there)
        boxes, order = crop_boxes(numbers, 32, 32), permutations(numbers[:, :1])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_same(result.cpu(), chain(images, *parameters), 1.5 / 255)
    assert torch.equal(order.cpu(), permutations(numbers[:, :1].cpu()))
    assert float((boxes.cpu() == crop_boxes(numbers.cpu(), 32, 32)).double().mean()) > 0.999


def test_wrong_shapes_are_refused():
    images, on = random(4, 3, 8, 8), everywhere(4)
    with pytest.raises(ValueError, match=f"{CROP_NUMBERS} random numbers, not 4"):
        crop_boxes(random(2, 4), 8, 8)
    with pytest.raises(ValueError, match="1 random number, not 2"):
        permutations(random(2, 2))
    with pytest.raises(ValueError, match="4 images need boxes"):
        resized_crop(images, torch.ones(3, 4), 8, on)
    with pytest.raises(ValueError, match="2 channels"):
        grayscale(images[:, :2], on)
    for kernel_size in (0, 4, 17):
        with pytest.raises(ValueError, match=f"kernel_size = {kernel_size} must be odd"):
            gaussian_blur(images, torch.ones(4), kernel_size, on)
