"""Three looks at a picture: made by one transform, taken apart into image and views."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from helip.common.errors import InvalidArgumentError
from helip.data.image_transform import ImageTransform
from helip.loading.loader import HardPairLoader
from helip.loading.views import TwoViews, slip_augmentation, split_views
from support.train_samples import Colours
from support.tune_samples import table

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))


def slip(size, mean, std):
    return ImageTransform.slip(size, interpolation="bilinear", mean=mean, std=std)


def plain(image):
    pixels = np.asarray(image.resize((16, 16)), dtype=np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def test_a_picture_becomes_the_plain_view_and_two_others(picture):
    torch.manual_seed(0)
    three = TwoViews(plain, slip(16, MEAN, STD))(picture)
    assert three.shape == (3, 3, 16, 16)
    assert torch.equal(three[0], plain(picture))
    assert not torch.equal(three[1], three[2])


def test_the_augmentation_repeats_from_torchs_generator(picture):
    augment = slip(16, MEAN, STD)
    torch.manual_seed(3)
    first = [augment(picture) for _ in range(20)]
    torch.manual_seed(3)
    assert all(map(torch.equal, first, [augment(picture) for _ in range(20)]))


def test_the_augmentation_mirrors_greys_and_blurs_as_often_as_slip_does():
    left = np.zeros((32, 32, 3), dtype=np.uint8)
    left[:, :16] = (250, 20, 20)
    image = Image.fromarray(left)
    augment = slip(16, (0, 0, 0), (1, 1, 1))
    torch.manual_seed(0)
    grey = sum(
        bool((view[0] - view[1]).abs().max() < 1e-6)
        for view in (augment(image) for _ in range(400))
    )
    assert 0.12 < grey / 400 < 0.32  # a fifth are greyed, and some crops miss the red half


def test_the_size_and_the_colours_come_from_the_models_preprocessing(picture):
    like = slip_augmentation({"size": [16, 16], "mean": MEAN, "std": STD})
    torch.manual_seed(1)
    expected = slip(16, MEAN, STD)(picture)
    torch.manual_seed(1)
    assert torch.equal(like(picture), expected)
    with pytest.raises(InvalidArgumentError, match="lacks mean, std"):
        slip_augmentation({"size": 16})


def test_views_of_another_size_are_refused(picture):
    with pytest.raises(InvalidArgumentError, match=r"\(3, 16, 16\) and ssl_transform \(3, 8, 8\)"):
        TwoViews(plain, slip(8, MEAN, STD))(picture)


def test_a_batch_is_taken_apart():
    batch = torch.arange(2 * 3 * 3 * 4, dtype=torch.float32).reshape(2, 3, 3, 2, 2)
    parts = split_views(batch)
    assert torch.equal(parts["image"], batch[:, 0])
    assert torch.equal(parts["views"][0], batch[:, 1])
    assert torch.equal(parts["views"][1], batch[:, 2])
    with pytest.raises(InvalidArgumentError, match=r"must be \[rows, 3, 3, H, W\]"):
        split_views(batch[:, 0])


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_views_that_do_not_depend_on_the_workers(workers):
    data = Colours(8)
    transform = TwoViews(plain, slip(16, MEAN, STD))

    def batches(workers):
        return list(
            HardPairLoader(
                data,
                table(data),
                batch_size=4,
                strategy="uniform",
                seed=5,
                workers=workers,
                transform=transform,
            )
        )

    for batch, again in zip(batches(0), batches(workers), strict=True):
        rows = len(batch["index"])
        assert batch["image"].shape == (rows, 3, 16, 16)
        assert batch["views"].shape == (2, rows, 3, 16, 16)
        assert torch.equal(batch["views"], again["views"])
        for place, row in enumerate(batch["index"].tolist()):
            assert torch.equal(batch["image"][place], plain(data[row]["image"]))
