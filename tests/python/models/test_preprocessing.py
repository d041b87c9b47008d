"""open_clip's recipe of training as a transform of the core."""

from __future__ import annotations

import pytest

from helip.data.image_transform import ImageTransform
from helip.models.preprocessing import train_transform

PREPROCESS = {"size": (64, 48), "mode": "RGB", "mean": (0.1, 0.2, 0.3), "std": (1.0, 2.0, 3.0)}


def test_the_plain_recipe_has_the_models_size_and_colours():
    expected = ImageTransform.train(size=(64, 48), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    assert train_transform(PREPROCESS, {}) == expected
    assert train_transform(PREPROCESS, {"scale": (0.9, 1.0), "ratio": None}) == expected
    assert train_transform({}, {}) == ImageTransform.train()


def test_augmentations_that_open_clip_names_are_taken_over():
    augmentation = {
        "scale": (0.4, 1.0),
        "color_jitter": (0.32, 0.31, 0.3, 0.08),
        "color_jitter_prob": 0.8,
        "gray_scale_prob": 0.2,
    }
    assert train_transform({"size": 32}, augmentation) == ImageTransform.train(
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
    assert train_transform(preprocess, augmentation) is None
