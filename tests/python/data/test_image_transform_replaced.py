"""Transforms of torchvision, and the training recipe of open_clip, as transforms of the core."""

from __future__ import annotations

import pytest
import torch
from open_clip.transform import MaybeConvertMode, MaybeToTensor, image_transform
from torchvision.transforms import (
    CenterCrop,
    Compose,
    InterpolationMode,
    Normalize,
    Resize,
    ToTensor,
    v2,
)
from torchvision.transforms._presets import ImageClassification

from helip.data.image_transform import ImageTransform, core_transform, open_clip_train_transform
from support.picture_samples import photograph

PLAIN = Normalize((0.5,) * 3, (0.5,) * 3)
NEAREST = InterpolationMode.NEAREST
BICUBIC = InterpolationMode.BICUBIC


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"image_size": (48, 48)}, {"size": 48}),
        ({"interpolation": "bilinear"}, {"interpolation": "bilinear"}),
        (
            {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 0.125)},
            {"mean": (0.5, 0.4, 0.3), "std": (0.25, 0.5, 0.125)},
        ),
    ],
)
def test_open_clips_transform_of_evaluation_is_the_cores(options, expected):
    made = image_transform(**{"image_size": 32, "is_train": False} | options)
    assert core_transform(made) == ImageTransform.eval(
        **{"size": 32, "exact_decode": True} | expected
    )


@pytest.mark.parametrize(
    "transform",
    [
        image_transform(32, is_train=False, resize_mode="squash"),
        image_transform(32, is_train=False, resize_mode="longest"),
        image_transform((32, 40), is_train=False),
        image_transform(32, is_train=True),
        Compose([Resize((32, 32)), CenterCrop(32), MaybeConvertMode(), MaybeToTensor(), PLAIN]),
        Compose([Resize(32, NEAREST), CenterCrop(32), MaybeConvertMode(), MaybeToTensor(), PLAIN]),
        Compose([Resize(32), CenterCrop(32), MaybeConvertMode("L"), MaybeToTensor(), PLAIN]),
        Compose([Resize(32), CenterCrop(32), MaybeConvertMode(), MaybeToTensor(), lambda x: x]),
        Compose([Resize(32), CenterCrop(32), PLAIN]),
        Compose([CenterCrop(32), Resize(32), MaybeToTensor(), PLAIN]),
        Compose([Resize(32, max_size=40), CenterCrop(32), MaybeToTensor(), PLAIN]),
        Compose([Resize(32), CenterCrop((32, 40)), MaybeToTensor(), PLAIN]),
        Compose([type("Other", (Resize,), {})(32), CenterCrop(32), MaybeToTensor(), PLAIN]),
        lambda image: image,
        None,
    ],
)
def test_any_other_transform_is_left_to_pillow(transform):
    assert core_transform(transform) is None


def _timm() -> Compose:
    timm = pytest.importorskip("timm")
    return timm.data.create_transform(
        (3, 48, 48), is_training=False, crop_pct=0.8, interpolation="bicubic"
    )


def _packaged() -> v2.Compose:
    from helip.encoders.families.packaged import _preprocess

    return _preprocess(48, 0.75)


@pytest.mark.parametrize(
    "made",
    [
        lambda: Compose([Resize(60, BICUBIC), CenterCrop(48), ToTensor(), PLAIN]),
        lambda: Compose([Resize(40), CenterCrop(48), MaybeConvertMode(), MaybeToTensor(), PLAIN]),
        lambda: ImageClassification(crop_size=48, resize_size=57),
        _timm,
        _packaged,
    ],
)
@pytest.mark.parametrize("size", [(120, 90), (91, 200), (48, 48), (30, 31), (300, 40)])
def test_the_cores_pictures_are_those_of_the_transform(made, size):
    theirs = made()
    ours = core_transform(theirs)
    image = photograph(*size)
    expected = theirs(image)
    found = ours(image)
    assert found.shape == expected.shape and found.dtype == torch.float32
    levels = (found - expected).abs() * torch.tensor(ours.std)[:, None, None] * 255
    # Two levels of 255: Pillow 13 may resize rows first.
    assert levels.max() < 2.01


PREPROCESS = {"size": (64, 48), "mode": "RGB", "mean": (0.1, 0.2, 0.3), "std": (1.0, 2.0, 3.0)}


def test_the_plain_recipe_has_the_models_size_and_colours():
    expected = ImageTransform.train(size=(64, 48), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    assert open_clip_train_transform(PREPROCESS, {}) == expected
    assert open_clip_train_transform(PREPROCESS, {"scale": (0.9, 1.0), "ratio": None}) == expected
    assert open_clip_train_transform({}, {}) == ImageTransform.train()


def test_augmentations_that_open_clip_names_are_taken_over():
    augmentation = {
        "scale": (0.4, 1.0),
        "color_jitter": (0.32, 0.31, 0.3, 0.08),
        "color_jitter_prob": 0.8,
        "gray_scale_prob": 0.2,
    }
    assert open_clip_train_transform({"size": 32}, augmentation) == ImageTransform.train(
        size=32,
        scale=(0.4, 1.0),
        jitter_probability=0.8,
        brightness=0.32,
        contrast=0.31,
        saturation=0.3,
        hue=0.08,
        grayscale_probability=0.2,
    )


@pytest.mark.parametrize(
    ("preprocess", "augmentation"),
    [
        ({}, {"use_timm": True}),
        ({}, {"re_prob": 0.1}),
        ({"mode": "L"}, {}),
        ({}, {"color_jitter": 0.4, "color_jitter_prob": 0.5}),
    ],
)
def test_what_the_core_cannot_do_is_left_to_open_clip(preprocess, augmentation):
    assert open_clip_train_transform(preprocess, augmentation) is None
