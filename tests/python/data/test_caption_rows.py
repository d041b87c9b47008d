"""row_per="caption": a row for each caption, of data with several a picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import helip
from helip.common.errors import InvalidArgumentError, SampleError, UnsupportedError
from helip.data.dataset import Dataset
from support.embed_samples import Colours, Numbers, run

PICTURES = 30
STARTS = np.cumsum([0, *(1 + row % 3 for row in range(PICTURES))])


class Several(Dataset):
    """Picture i is of one colour, and has 1 + i % 3 captions of numbers; row 7 cannot be read."""

    bad = 7

    def __init__(self) -> None:
        self.decoded: list[int] = []

    @property
    def keys(self):
        return [f"k{row}" for row in range(PICTURES)]

    def _read_image(self, row):
        self.decoded.append(row)
        return Image.new("RGB", (4, 4), (row, 2 * row, 3 * row))

    def _read_captions(self, row):
        if row == self.bad:
            return []
        return [str(row + 100 * place) for place in range(1 + row % 3)]


def expected_rows():
    """(picture, place) of each caption; the row that cannot be read stays one."""
    return [
        (row, place) for row in range(PICTURES) for place in range(1 if row == 7 else 1 + row % 3)
    ]


def test_each_caption_is_a_row_with_its_picture():
    data = helip.open_dataset(Several(), row_per="caption")
    rows = expected_rows()
    assert list(data.keys) == [f"k{row}#{place}" for row, place in rows]
    for at, (row, place) in enumerate(rows):
        if row == 7:
            with pytest.raises(SampleError, match=rf"'k7#0' \(row {at}\): .*'k7' \(row 7\)"):
                data.captions(at)
            continue
        assert data.captions(at) == (str(row + 100 * place),)
        sample = data[at]
        assert sample["text"] == str(row + 100 * place)
        assert sample["image"].getpixel((0, 0)) == (row, 2 * row, 3 * row)
    assert data.picture_rows.tolist() == [row for row, _ in rows]
    assert data.image_groups().tolist() == [row + 1 for row, _ in rows]
    assert data.counts() == {"rows": len(rows), "pictures": PICTURES}
    part = helip.open_dataset(Several(), row_per="caption", limit=5, subset=np.arange(4, 20))
    assert list(part.keys) == list(data.keys[4:9])
    assert data.fingerprint not in (part.fingerprint, Several().fingerprint)
    assert helip.open_dataset(data) is data
    with pytest.raises(UnsupportedError, match="row_per='picture'"):
        data.source_rows()
    with pytest.raises(InvalidArgumentError, match="row_per"):
        helip.open_dataset(Several(), row_per="word")


def test_a_caption_that_went_is_named():
    data = helip.open_dataset(Several(), row_per="caption")
    last = len(data) - 1
    data._parent._read_captions = lambda row: ["one"]
    with pytest.raises(SampleError, match=r"k29#2.* has 1 captions by now"):
        data.captions(last)


def test_the_store_of_caption_rows_encodes_a_picture_once(tmp_path):
    class Counting(Colours):
        seen = 0

        def encode(self, images: torch.Tensor) -> torch.Tensor:
            Counting.seen += len(images)
            return super().encode(images)

    data = helip.open_dataset(Several(), row_per="caption")
    store = run(data, tmp_path / "s", image_encoder=Counting(), batch_size=1000)
    assert Counting.seen == PICTURES - 1
    for at, (row, place) in enumerate(expected_rows()):
        if row == 7:
            assert not store.image[at].any()
            continue
        image = Image.new("RGB", (4, 4), (row, 2 * row, 3 * row))
        pixels = Colours().preprocess(image)[None]
        np.testing.assert_array_equal(store.image[at], Colours().encode(pixels)[0].numpy())
        text = Numbers().encode([str(row + 100 * place)])[0]
        np.testing.assert_array_equal(store.text[at], text.numpy())
    assert list(store.keys) == list(data.keys)
    loader = helip.HardPairLoader(data, None, hard_per_target=0, batch_size=20, workers=0)
    for batch in loader:
        for row, text, group in zip(
            batch["index"].tolist(), batch["text"], batch["image_group"].tolist(), strict=True
        ):
            assert (text,) == data.captions(row)
            assert group == data.picture_rows[row] + 1
