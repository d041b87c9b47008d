"""Hugging Face data sets and map-style torch data sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helip.common.errors import CorruptError, InvalidArgumentError, SampleError, UnsupportedError
from helip.data.opening import open_dataset
from support.data_samples import assert_row_is, caption, picture, pixels, png, write_pictures

ROWS = 4


def reason_of(read, *args) -> str:
    with pytest.raises(SampleError) as caught:
        read(*args)
    return caught.value.reason


# Hugging Face


@pytest.fixture
def datasets():
    return pytest.importorskip("datasets")


def hugging_face(datasets, **columns):
    count = len(next(iter(columns.values())))
    columns = {"image": [{"bytes": png(i), "path": None} for i in range(count)]} | columns
    source = datasets.Dataset.from_dict(columns)
    return source.cast_column("image", datasets.Image())


def test_a_dataset_in_memory_is_wrapped(datasets):
    data = open_dataset(hugging_face(datasets, text=[caption(i) for i in range(ROWS)]))
    assert data.keys == [f"{i:09d}" for i in range(ROWS)]
    for row in (3, 0):
        assert_row_is(data, row, row)


@pytest.mark.parametrize("form", ["torch", "numpy", "pandas", "arrow"])
def test_the_format_of_the_source_does_not_matter(datasets, form):
    source = hugging_face(datasets, text=[caption(i) for i in range(ROWS)])
    data = open_dataset(source.with_format(form))
    assert_row_is(data, 1, 1)


def test_a_selection_keeps_its_order(datasets):
    source = hugging_face(datasets, text=[caption(i) for i in range(ROWS)])
    assert_row_is(open_dataset(source.select([2, 0])), 0, 2)


def test_class_labels_are_given_by_name(datasets):
    source = hugging_face(datasets, text=["x", "y", "z"], label=[1, 0, -1])
    source = source.cast_column("label", datasets.ClassLabel(names=["cat", "dog"]))
    data = open_dataset(source)
    assert [data.label(i) for i in range(3)] == ["dog", "cat", None]


def test_key_columns_of_numbers_are_turned_into_text(datasets):
    source = hugging_face(datasets, text=["x", "y"], id=[7, 5])
    assert open_dataset(source, key_column="id").keys == ["7", "5"]
    source = hugging_face(datasets, text=["x", "y"], id=[7, 7])
    with pytest.raises(InvalidArgumentError, match="row 0 and row 1"):
        open_dataset(source, key_column="id")


def test_pictures_by_path_are_read_from_disk(datasets, tmp_path):
    paths = [str(tmp_path / name) for name in write_pictures(tmp_path, range(2))]
    source = datasets.Dataset.from_dict({"image": paths, "text": [caption(0), caption(1)]})
    assert_row_is(open_dataset(source.cast_column("image", datasets.Image())), 1, 1)
    assert_row_is(open_dataset(source), 1, 1)
    (tmp_path / "set").mkdir()
    assert reason_of(open_dataset(source, root=tmp_path / "set").image, 0) == "outside_root"


def test_addresses_are_never_fetched(datasets):
    source = datasets.Dataset.from_dict({"image": ["http://host/a.png"], "text": ["x"]})
    assert reason_of(open_dataset(source).image, 0) == "io"


def test_null_cells_stay_rows(datasets):
    source = datasets.Dataset.from_dict(
        {"image": [None, {"bytes": png(1), "path": None}], "text": ["x", None]},
        features=datasets.Features(image=datasets.Image(), text=datasets.Value("string")),
    )
    data = open_dataset(source)
    assert reason_of(data.__getitem__, 0) == "missing_image"
    assert reason_of(data.__getitem__, 1) == "missing_caption"


def test_several_splits_or_a_stream_are_refused_with_the_mend(datasets, tmp_path):
    source = hugging_face(datasets, text=["x", "y"])
    splits = datasets.DatasetDict(train=source, test=source)
    with pytest.raises(InvalidArgumentError, match=r"source\['train'\], source\['test'\]"):
        open_dataset(splits)
    splits.save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(InvalidArgumentError, match=r"splits/test, .*splits/train"):
        open_dataset(tmp_path / "splits")
    assert len(open_dataset(tmp_path / "splits" / "train")) == 2
    with pytest.raises(UnsupportedError, match="streaming"):
        open_dataset(source.to_iterable_dataset())


def test_a_damaged_saved_data_set_is_told(datasets, tmp_path):
    hugging_face(datasets, text=["x", "y"]).save_to_disk(str(tmp_path / "saved"))
    for file in (tmp_path / "saved").glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(CorruptError, match="no whole saved data set"):
        open_dataset(tmp_path / "saved")


# Map-style


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
    with pytest.raises(InvalidArgumentError, match="1 keys given for 2 rows"):
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
