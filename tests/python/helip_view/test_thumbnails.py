"""Thumbnails: the whole picture on white, made once."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import helip
from helip.common.errors import SampleError
from helip_view import thumbnails
from helip_view.thumbnails import SIDE, Thumbnails
from support.view_samples import BROKEN, write_all


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> helip.Dataset:
    return helip.open_dataset(write_all(tmp_path_factory.mktemp("thumbs") / "m") / "pictures")


class Plain:
    """A data set that the core cannot read."""

    def __init__(self, data: helip.Dataset) -> None:
        self.image, self.reads = data.image, 0


def pixels(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)).convert("RGB")).astype(int)


def test_the_whole_picture_lies_on_white(data: helip.Dataset) -> None:
    found = pixels(Thumbnails(data).get(30))  # 54 x 16 pixels
    assert found.shape == (SIDE, SIDE, 3)
    assert found[5, SIDE // 2].min() > 250
    np.testing.assert_allclose(found[SIDE // 2, SIDE // 2], (180, 75, 90), atol=6)


def test_pictures_that_the_core_cannot_reach_are_the_same(data: helip.Dataset) -> None:
    one = Thumbnails(data).get(12)
    other = Thumbnails(Plain(data)).get(12)
    assert np.abs(pixels(one) - pixels(other)).max() <= 4


def test_each_is_made_once(data: helip.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Thumbnails(data)
    body = made.get(12)
    monkeypatch.setattr(thumbnails, "_encoded", None)
    assert made.get(12) == body


def test_one_that_cannot_be_read_raises(data: helip.Dataset) -> None:
    with pytest.raises(SampleError, match="row 8") as caught:
        Thumbnails(data).get(BROKEN)
    assert caught.value.reason == "unreadable_image"
