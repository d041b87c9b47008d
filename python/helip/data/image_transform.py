"""Pictures to tensors in C++: decoded, cropped, resized, augmented and normalised in one call.

The standard recipes of CLIP and SLIP, equal to torchvision's on Pillow images within what
docs/pictures-in.md states. Any other callable may stand in its place; where it is one of
torchvision's or open_clip's that the core can do, the core does it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from helip._core import ImageTransform as _CoreTransform
from helip.common.errors import InvalidArgumentError, SampleError
from helip.common.options import require
from helip.data.decoding import decode_image
from helip.data.options import MAX_PIXELS, MAX_SECONDS

_OPEN_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_OPEN_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# What an augmentation of open_clip may set here. The others are timm's.
_AUGMENTATION = {"scale", "color_jitter", "color_jitter_prob", "gray_scale_prob", "use_timm"}
# open_clip's names of steps that make an RGB image or a tensor of 0 … 1 out of a Pillow image.
_TO_RGB = ("MaybeConvertMode", "_convert_to_rgb")
_TO_UNIT = ("MaybeToTensor", "ToTensor")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageTransform:
    """A transform of one picture, the same for the same (picture, options, key).

    ``transform(image)`` takes a Pillow image and draws its key from torch's generator, as any
    torchvision transform does. ``transform.from_bytes(data, seed=…, epoch=…, row=…)`` takes an
    encoded picture and depends on nothing else; it decodes only what the crop needs. Both give a
    tensor [3, height, width] (``layout="nhwc"``: [height, width, 3]) of ``dtype``. Safe to call
    from threads; pickles as its options.

    Args:
        size: of the result, pixels, or (height, width).
        crop: ``random`` (RandomResizedCrop by ``scale`` and ``ratio``), ``shortest`` (the shorter
            side to the size, then the centre), ``longest`` (the longer side, the rest ``fill``),
            ``squash``.
        scale: share of the area, ``random`` alone.
        ratio: width / height, ``random`` alone.
        fill: red, green, blue where there is no picture.
        interpolation: ``bicubic`` or ``bilinear``, both antialiased.
        jitter_probability: of brightness, contrast, saturation and hue, in random order, by the
            strengths that ColorJitter takes.
        grayscale_probability: of no colours at all.
        blur_probability: of Pillow's GaussianBlur with a ``blur_sigma`` of (low, high) pixels.
        flip_probability: of left for right.
        dtype: ``float32``, ``float16``, ``bfloat16``, normalised by ``mean`` and ``std`` per
            channel; ``uint8``: pixels as they are. Also a torch dtype.
        layout: ``nchw`` or ``nhwc``.
        exact_decode: take every pixel of a JPEG, as Pillow does; by default one of twice the size
            that is needed, or more, is decoded to a half, a quarter or an eighth.
        max_pixels, max_bytes: of a picture and of its encoding; more is refused as ``too_large``.
        resize: what ``shortest`` makes of the shorter side, of which the centre of ``size`` is
            kept; 0: the size itself.
        max_aspect: longer side over shorter; more is refused as ``extreme_aspect``. 0: any.
        max_seconds: to decode a picture; more is refused as ``too_slow``. inf: no limit. This
            alone depends on the machine.

    Raises:
        InvalidArgumentError: an option is outside its bound.
    """

    size: int | tuple[int, int] = 224
    crop: str = "random"
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3.0 / 4.0, 4.0 / 3.0)
    fill: tuple[int, int, int] = (0, 0, 0)
    interpolation: str = "bicubic"
    jitter_probability: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale_probability: float = 0.0
    blur_probability: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    flip_probability: float = 0.0
    dtype: str | torch.dtype = "float32"
    layout: str = "nchw"
    mean: tuple[float, float, float] = _OPEN_CLIP_MEAN
    std: tuple[float, float, float] = _OPEN_CLIP_STD
    exact_decode: bool = False
    max_pixels: int = MAX_PIXELS
    max_bytes: int = 1 << 30
    resize: int = 0
    max_aspect: float = 0.0
    max_seconds: float = MAX_SECONDS
    _core: _CoreTransform = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        size = self.size
        if isinstance(size, int):
            size = (size, size)
        require(len(size) == 2, "size", size, "pixels or (height, width)")
        for name in ("scale", "ratio", "fill", "blur_sigma", "mean", "std"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        object.__setattr__(self, "size", size[0] if size[0] == size[1] else tuple(size))
        options = self._options()
        del options["size"]
        try:
            core = _CoreTransform(height=size[0], width=size[1], **options)
        except TypeError as error:
            raise InvalidArgumentError(
                f"an option has a value of the wrong kind: {options}"
            ) from error
        object.__setattr__(self, "_core", core)

    @classmethod
    def train(cls, size: int | tuple[int, int] = 224, **options: Any) -> ImageTransform:
        """open_clip's training recipe: a random 90 to 100 % of the area."""
        return cls(**{"size": size, "scale": (0.9, 1.0)} | options)

    @classmethod
    def eval(cls, size: int | tuple[int, int] = 224, **options: Any) -> ImageTransform:
        """open_clip's recipe for evaluation: the shorter side to the size, then the centre."""
        return cls(**{"size": size, "crop": "shortest"} | options)

    @classmethod
    def slip(cls, size: int | tuple[int, int] = 224, **options: Any) -> ImageTransform:
        """The augmentation of SLIP's self-supervised views (arXiv 2112.12750)."""
        recipe: dict[str, Any] = {
            "size": size,
            "jitter_probability": 0.8,
            "brightness": 0.4,
            "contrast": 0.4,
            "saturation": 0.4,
            "hue": 0.1,
            "grayscale_probability": 0.2,
            "blur_probability": 0.5,
            "flip_probability": 0.5,
        }
        return cls(**recipe | options)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one result."""
        return cast("tuple[int, int, int]", tuple(self._core.shape))

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Transform a Pillow image, upright already; chance comes from torch's generator."""
        seed = int(torch.randint(2**63 - 1, (), dtype=torch.int64).item())
        return self.from_image(image, seed=seed)

    def from_image(
        self, image: Image.Image, *, seed: int = 0, epoch: int = 0, row: int = 0, view: int = 0
    ) -> torch.Tensor:
        """Transform a Pillow image, upright already."""
        pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        return self._tensor(
            self._core.apply_pixels(pixels, seed=seed, epoch=epoch, row=row, view=view)
        )

    def from_bytes(
        self, data: bytes, *, seed: int = 0, epoch: int = 0, row: int = 0, view: int = 0
    ) -> torch.Tensor:
        """Decode and transform an encoded picture: upright, transparency over white.

        Formats that the core does not decode are read by Pillow.

        Raises:
            SampleError: ``unreadable_image``, ``too_large``, ``too_slow`` or ``extreme_aspect``.
        """
        try:
            return self._tensor(self._core.apply(data, seed=seed, epoch=epoch, row=row, view=view))
        except SampleError as error:
            if error.reason != "unsupported_format":
                raise
        image = decode_image(data, max_pixels=self.max_pixels, max_seconds=self.max_seconds)
        return self.from_image(image, seed=seed, epoch=epoch, row=row, view=view)

    def __repr__(self) -> str:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        changed = [
            f"{name}={value!r}"
            for name, value in self._options().items()
            if value != defaults[name] or name == "size"
        ]
        return f"ImageTransform({', '.join(changed)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._options()), ()

    def _options(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        return tensor.view(torch.bfloat16) if self.dtype == "bfloat16" else tensor


def core_transform(transform: Any) -> ImageTransform | None:
    """The core's transform in place of ``transform``; None where it does something else.

    What is known: torchvision's Compose, of either version, and its presets of classification, that
    resize the shorter side, cut a square out of the centre and normalise, as open_clip, timm and
    torchvision evaluate; pictures are RGB. An ImageTransform stands for itself. JPEGs are decoded
    exactly, as by Pillow: at a half or a quarter of the size features would lie at a cosine of
    0.98.
    """
    if isinstance(transform, ImageTransform):
        return dataclasses.replace(transform, exact_decode=True)
    from torchvision.transforms import Compose, v2
    from torchvision.transforms._presets import ImageClassification

    if type(transform) is ImageClassification:
        t = transform
        return _shortest_and_centre(t.resize_size, t.crop_size, t.interpolation, t.mean, t.std)
    if type(transform) not in (Compose, v2.Compose):
        return None
    return _of_steps(transform.transforms)


def _of_steps(steps: Sequence[Any]) -> ImageTransform | None:
    from torchvision import transforms as v1
    from torchvision.transforms import v2

    if len(steps) < 4:
        return None
    resize, crop, *between, normalise = steps
    if not (
        # The very classes: one that is derived may do something else.
        type(resize) in (v1.Resize, v2.Resize)
        and type(crop) in (v1.CenterCrop, v2.CenterCrop)
        and type(normalise) in (v1.Normalize, v2.Normalize)
        and resize.max_size is None
    ):
        return None
    names = [getattr(each, "__name__", type(each).__name__) for each in between]
    if names and names[0] in _TO_RGB and getattr(between[0], "mode", "RGB") == "RGB":
        names, between = names[1:], between[1:]
    if len(names) == 1 and names[0] in _TO_UNIT:
        largest = 1.0
    elif names == ["PILToTensor", "ToDtype"] and between[1].dtype == torch.float32:
        largest = 1.0 if between[1].scale else 255.0
    else:
        return None
    mean, std = ([float(x) / largest for x in values] for values in (normalise.mean, normalise.std))
    return _shortest_and_centre(resize.size, crop.size, resize.interpolation, mean, std)


def _shortest_and_centre(
    resize: Any, crop: Any, interpolation: Any, mean: Sequence[float], std: Sequence[float]
) -> ImageTransform | None:
    from torchvision.transforms import InterpolationMode

    known = {InterpolationMode.BICUBIC: "bicubic", InterpolationMode.BILINEAR: "bilinear"}
    edges = [resize] if isinstance(resize, int) else list(resize)
    sides = [crop] if isinstance(crop, int) else list(crop)
    if (
        len(edges) != 1  # two would not keep the picture's shape
        or len(set(sides)) != 1
        or interpolation not in known
        or len(mean) != 3
        or len(std) != 3
    ):
        return None
    size = sides[0]
    return ImageTransform.eval(
        size=size,
        resize=0 if edges[0] == size else edges[0],
        interpolation=known[interpolation],
        mean=tuple(map(float, mean)),
        std=tuple(map(float, std)),
        exact_decode=True,
    )


def open_clip_train_transform(
    preprocess: Mapping[str, Any], augmentation: Mapping[str, Any]
) -> ImageTransform | None:
    """open_clip's training transform as the core's, or None where open_clip has to make its own.

    Args:
        preprocess: fields of open_clip's PreprocessCfg: ``size``, ``mean``, ``std``, ...
        augmentation: fields of its AugmentationCfg.
    """
    given = {name: value for name, value in augmentation.items() if value is not None}
    plain = not given.get("use_timm") and given.keys() <= _AUGMENTATION
    if not plain or preprocess.get("mode", "RGB") != "RGB":
        return None
    options: dict[str, Any] = {}
    if probability := given.get("color_jitter_prob"):
        strengths = given.get("color_jitter")
        if not isinstance(strengths, (list, tuple)) or len(strengths) != 4:
            return None  # open_clip has the message
        options |= zip(("brightness", "contrast", "saturation", "hue"), strengths, strict=True)
        options["jitter_probability"] = probability
    if probability := given.get("gray_scale_prob"):
        options["grayscale_probability"] = probability
    for name in ("mean", "std"):
        if preprocess.get(name) is not None:
            options[name] = preprocess[name]
    return ImageTransform.train(
        size=preprocess.get("size", 224), scale=given.get("scale", (0.9, 1.0)), **options
    )
