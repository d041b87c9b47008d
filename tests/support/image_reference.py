"""What a transform must give, by torchvision and Pillow with the same draws."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

MASK = (1 << 64) - 1
INCREMENT = 0x9E3779B97F4A7C15
CROP, JITTER, GRAYSCALE, BLUR, FLIP = range(16, 21)


def mix64(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


class CounterRandom:
    """SplitMix64 from a state hashed out of words, as in the core."""

    def __init__(self, *words: int) -> None:
        self.state = 0
        for word in words:
            self.state = mix64(((self.state + INCREMENT) & MASK) ^ word)

    def next(self) -> int:
        self.state = (self.state + INCREMENT) & MASK
        return mix64(self.state)

    def below(self, bound: int) -> int:
        if bound == 1:
            return 0
        spare = 64 - (bound - 1).bit_length()
        while (drawn := self.next() >> spare) > bound - 1:
            pass
        return drawn

    def unit(self) -> float:
        return ((self.next() >> 12) + 0.5) * 2.0**-52

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.unit()


def random_region(size, scale, ratio, random: CounterRandom):
    """torchvision's RandomResizedCrop.get_params: top, left, height, width."""
    height, width = size
    for _ in range(10):
        area = height * width * random.between(*scale)
        aspect = math.exp(random.between(math.log(ratio[0]), math.log(ratio[1])))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < w <= width and 0 < h <= height:
            return random.below(height - h + 1), random.below(width - w + 1), h, w
    h, w = height, width
    if width / height < min(ratio):
        h = round(width / min(ratio))
    elif width / height > max(ratio):
        w = round(height * max(ratio))
    return (height - h) // 2, (width - w) // 2, h, w


def reference(image: Image.Image, transform, seed=0, epoch=0, row=0, view=0) -> np.ndarray:
    """uint8 [height, width, 3] of ``transform`` with CropKind random or squash."""
    size = transform.size
    size = [size, size] if isinstance(size, int) else list(size)
    mode = getattr(InterpolationMode, transform.interpolation.upper())

    def draws(purpose: int) -> CounterRandom:
        return CounterRandom(seed, purpose, epoch, row, view)

    if transform.crop == "random":
        region = random_region(image.size[::-1], transform.scale, transform.ratio, draws(CROP))
        image = F.crop(image, *region)
    # Pillow before 13 resizes columns first; 13 begins with the side that costs less.
    image = F.resize(image, [image.height, size[1]], mode)
    image = F.resize(image, size, mode)
    # A flip commutes with all that follows.
    if draws(FLIP).unit() < transform.flip_probability:
        image = F.hflip(image)
    random = draws(JITTER)
    if random.unit() < transform.jitter_probability:
        image = jittered(image, transform, random)
    if draws(GRAYSCALE).unit() < transform.grayscale_probability:
        image = F.to_grayscale(image, 3)
    random = draws(BLUR)
    if random.unit() < transform.blur_probability:
        sigma = random.between(*transform.blur_sigma)
        image = image.filter(ImageFilter.GaussianBlur(sigma))
    return np.asarray(image)


def jittered(image: Image.Image, transform, random: CounterRandom) -> Image.Image:
    order = [0, 1, 2, 3]
    for last in (3, 2, 1):
        other = random.below(last + 1)
        order[last], order[other] = order[other], order[last]
    strengths = [transform.brightness, transform.contrast, transform.saturation]
    factors = [random.between(max(0.0, 1.0 - s), 1.0 + s) for s in strengths]
    factors.append(transform.hue * (2.0 * random.unit() - 1.0))
    steps = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    for step in order:
        if [*strengths, transform.hue][step] > 0:
            image = steps[step](image, factors[step])
    return image
