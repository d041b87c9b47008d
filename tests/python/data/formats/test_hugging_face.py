"""Data sets of Hugging Face."""

from __future__ import annotations

import pytest

from helip.common.errors import CorruptError, InvalidArgumentError, SampleError, UnsupportedError
from helip.data.opening import open_dataset
from support.data_samples import assert_row_is, caption, png, write_pictures

ROWS = 4


def reason_of(read, *args) -> str:
    with pytest.raises(SampleError) as caught:
        read(*args)
    return caught.value.reason


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
    with pytest.raises(InvalidArgumentError, match=r"split is None.*train, test; give one"):
        open_dataset(splits)
    splits.save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(InvalidArgumentError, match=r"split is None.*test, train; give one"):
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
