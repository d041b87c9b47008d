"""Rows for pages: captions in order, and pictures one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import helip
from helip.common.errors import SampleError
from helip.data.picture_reader import TransformedPictures, captions_in_order


class Plain:
    """A data set of somebody's own, whose second row cannot be read."""

    def caption(self, row: int) -> str:
        if row == 1:
            raise SampleError.of("1", "missing_caption", "it has none")
        return f"row {row}"

    def image(self, row: int) -> Image.Image:
        return Image.new("RGB", (4, 2), (9 * row, 0, 0))


def test_captions_come_in_order_and_none_where_they_cannot_be_read() -> None:
    found = [(row, list(texts)) for row, texts in captions_in_order(Plain(), range(3))]
    assert found == [(0, ["row 0"]), (1, []), (2, ["row 2"])]


def test_the_core_and_pillow_make_the_same_of_a_picture(tmp_path: Path) -> None:
    for row in range(3):
        Plain().image(row).save(tmp_path / f"{row}.png")
        (tmp_path / f"{row}.txt").write_text("a row")
    (tmp_path / "2.png").write_bytes(b"no picture")
    transform = helip.ImageTransform(size=2, dtype="uint8", layout="nhwc")
    read = TransformedPictures(helip.open_dataset(tmp_path), transform)
    plain = TransformedPictures(Plain(), transform)
    assert torch.equal(read.get(1), plain.get(1))
    np.testing.assert_array_equal(read.get(1)[..., 0], 9)
    with pytest.raises(SampleError, match="row 2"):
        read.get(2)
    assert torch.equal(read.get(0), plain.get(0))
