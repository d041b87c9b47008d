"""Map-style torch data sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip.common.errors import InvalidArgumentError, SampleError, UnsupportedError
from helip.data.opening import open_dataset
from support.data_samples import assert_row_is, caption, picture, pixels, png

ROWS = 4


def reason_of(read, *args) -> str:
    with pytest.raises(SampleError) as caught:
        read(*args)
    return caught.value.reason


class Items(torch.utils.data.Dataset):
    def __init__(self, *items):
        self.items = items
        self.reads = 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        self.reads += 1
        item = self.items[row]
        if isinstance(item, Exception):
            raise item
        return item


@pytest.mark.parametrize(
    "item",
    [
        (picture(0), caption(0)),
        [picture(0), caption(0), "label"],
        (picture(0), ["", caption(0), "another"]),
        {"image": picture(0), "caption": caption(0)},
        {"img": picture(0), "text": caption(0), "more": 1},
        (png(0), caption(0)),
        (np.asarray(picture(0)), caption(0)),
        (torch.from_numpy(np.array(picture(0))).permute(2, 0, 1), caption(0)),
    ],
)
def test_tuples_and_dicts_of_pictures_bytes_and_arrays_are_taken(item):
    assert_row_is(open_dataset(Items(item)), 0, 0)


def test_names_in_a_dict_can_be_given():
    source = Items({"a": picture(0), "b": caption(0), "text": "no", "c": 4})
    data = open_dataset(source, image_column="a", caption_column="b", label_column="c")
    assert_row_is(data, 0, 0)
    assert data.label(0) == "4"


def test_a_plain_list_of_pairs_is_a_data_set():
    assert_row_is(open_dataset([(picture(i), caption(i)) for i in range(3)]), 2, 2)


def test_a_sample_is_read_once():
    source = Items((picture(0), caption(0)))
    open_dataset(source)[0]
    assert source.reads == 1


def test_keys_are_row_numbers_or_as_given():
    source = Items((picture(0), "x"), (picture(1), "y"))
    assert open_dataset(source).keys == ["000000000", "000000001"]
    assert open_dataset(source, keys=["b", "a"]).keys == ["b", "a"]
    with pytest.raises(InvalidArgumentError, match="the number of keys is 1, must be 2"):
        open_dataset(source, keys=["b"])
    with pytest.raises(InvalidArgumentError, match="'b': row 0 and row 1"):
        open_dataset(source, keys=["b", "b"])
    with pytest.raises(InvalidArgumentError, match="keys="):
        open_dataset(source, key_column="id")


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ((picture(0), 3), "missing_caption"),
        ((picture(0),), "missing_caption"),
        ({"image": picture(0)}, "missing_caption"),
        ({"text": "x"}, "missing_image"),
        ((torch.zeros(3, 4, 4), "x"), "unreadable_image"),
        ((b"nothing", "x"), "unreadable_image"),
        (("a.png", "x"), "unreadable_image"),
        (picture(0), "source_error"),
        (ValueError("bad row"), "source_error"),
    ],
)
def test_a_bad_item_is_one_bad_sample(item, reason):
    data = open_dataset(Items(item, (picture(1), caption(1))))
    assert reason_of(data.__getitem__, 0) == reason
    assert_row_is(data, 1, 1)


def test_a_picture_of_a_wrapped_set_obeys_the_bound():
    data = open_dataset(Items((picture(0), "x")), max_pixels=53)
    assert reason_of(data.image, 0) == "too_large"
    assert pixels(open_dataset(Items((picture(0), "x")), max_pixels=54).image(0)).shape == (6, 9, 3)


def test_a_stream_is_refused():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter([])

    with pytest.raises(UnsupportedError, match="read at random"):
        open_dataset(Stream())


def test_an_empty_data_set_is_refused():
    with pytest.raises(InvalidArgumentError, match="no samples"):
        open_dataset(Items())
