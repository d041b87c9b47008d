"""Thumbnails: the whole picture on white, made once, bounded."""

from __future__ import annotations

import io
from pathlib import Path

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


def test_the_whole_picture_lies_on_white(data: helip.Dataset, tmp_path: Path) -> None:
    found = pixels(Thumbnails(data, tmp_path, 1 << 20).get(30))  # 54 x 16 pixels
    assert found.shape == (SIDE, SIDE, 3)
    assert found[5, SIDE // 2].min() > 250
    np.testing.assert_allclose(found[SIDE // 2, SIDE // 2], (180, 75, 90), atol=6)


def test_pictures_that_the_core_cannot_reach_are_the_same(
    data: helip.Dataset, tmp_path: Path
) -> None:
    one = Thumbnails(data, tmp_path, 1 << 20).get(12)
    (tmp_path / "other").mkdir()
    other = Thumbnails(Plain(data), tmp_path / "other", 1 << 20).get(12)
    assert np.abs(pixels(one) - pixels(other)).max() <= 4


def test_each_is_made_once_also_by_another_process(
    data: helip.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Thumbnails(data, tmp_path, 1 << 20)
    body = first.get(12)
    first.close()
    monkeypatch.setattr(thumbnails, "_encoded", None)
    assert Thumbnails(data, tmp_path, 1 << 20).get(12) == body


def test_the_file_is_bounded_and_the_oldest_go(data: helip.Dataset, tmp_path: Path) -> None:
    thumbnails = Thumbnails(data, tmp_path, 3_000)
    for row in [*range(8), *range(10, 30)]:
        thumbnails.get(row)
    kept = thumbnails._kept.execute("SELECT row, length(body) FROM thumbnails").fetchall()
    assert 0 < sum(size for _, size in kept) <= 3_000
    assert max(row for row, _ in kept) == 29 and min(row for row, _ in kept) > 10


def test_one_that_cannot_be_read_raises(data: helip.Dataset, tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="row 8") as caught:
        Thumbnails(data, tmp_path, 1 << 20).get(BROKEN)
    assert caught.value.reason == "unreadable_image"


def test_a_damaged_file_is_made_anew(data: helip.Dataset, tmp_path: Path) -> None:
    (tmp_path / "thumbnails.sqlite").write_bytes(b"no database" * 100)
    thumbnails = Thumbnails(data, tmp_path, 1 << 20)
    body = thumbnails.get(3)
    assert thumbnails.get(3) == body and thumbnails._kept is not None
