"""What all data sets have: places of pictures, and hints of rows that will be read."""

from __future__ import annotations

import datasets
import numpy as np
import pytest

from helip.data.dataset import AHEAD, Dataset, read_ahead
from helip.data.opening import open_dataset
from support.data_samples import png, write_shard
from support.train_samples import Colours


def test_a_picture_with_a_file_of_its_own_has_a_path(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    (tmp_path / "metadata.csv").write_text("file_name,caption\n2.png,two\n0.png,none\n9.png,gone\n")
    folder = open_dataset(str(tmp_path))
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    assert [folder.image_path(row) for row in range(4)] == [*paths, None]
    table = open_dataset(tmp_path / "metadata.csv")
    assert [table.image_path(row) for row in (0, 1)] == [paths[2], paths[0]]
    assert table.subset([1]).image_path(-1) == paths[0]
    hub = datasets.Dataset.from_dict({"image": ["0.png"], "caption": ["none"]})
    assert open_dataset(hub, root=tmp_path).image_path(0) == paths[0]


def test_a_picture_within_something_has_bytes_and_no_path(tmp_path):
    shard = open_dataset(str(write_shard(tmp_path / "0.tar", range(3))))
    cells = [{"bytes": png(number), "path": "0.png"} for number in range(3)]
    hub = datasets.Dataset.from_dict({"image": cells, "caption": ["a", "b", "c"]})
    hub.to_parquet(tmp_path / "p.parquet")
    for data in (shard, open_dataset(hub), open_dataset(tmp_path / "p.parquet")):
        assert [data.image_path(row) for row in range(3)] == [None] * 3
        assert [data._image_bytes(row) for row in range(3)] == [png(row) for row in range(3)]
        assert data.subset([2])._image_bytes(0) == png(2)
    assert Colours(5).image_path(0) is Colours(5)._image_bytes(0) is None


class Told:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def _will_need(self, rows: np.ndarray) -> None:
        assert rows.dtype == np.int64
        self.rows += rows.tolist()


@pytest.mark.parametrize("count", [0, 1, AHEAD, AHEAD + 1, 2 * AHEAD, 5 * AHEAD + 3])
def test_each_row_is_told_once_and_in_time(count):
    rows = np.random.default_rng(0).permutation(count).tolist()
    data, read = Told(), []
    for row in read_ahead(data, rows):
        read.append(row)
        assert len(data.rows) >= min(count, len(read) + AHEAD)
        assert len(data.rows) <= len(read) + 2 * AHEAD
    assert read == data.rows == rows


def test_data_that_takes_no_hint_is_read_all_the_same():
    assert list(read_ahead(object(), [3, 1])) == [3, 1]


def test_a_subset_passes_on_the_rows_of_what_it_is_part_of():
    class Kept(Told, Dataset):
        keys = tuple("abcdef")
        _read_image = _read_caption = None

    data = Kept()
    data.subset([5, 3, 1]).subset([2, 0])._will_need(np.array([1, 0]))
    assert data.rows == [5, 1]


def test_a_hint_of_rows_that_are_not_there_changes_nothing(tmp_path):
    write_shard(tmp_path / "a.tar", range(3))
    data = open_dataset(tmp_path / "a.tar", progress=False)
    before = [data[row]["text"] for row in range(3)]
    data.index.will_need(np.array([0, 3]))
    data.index.will_need(np.array([], dtype=np.int64))
    data.index.will_need(np.array([2, 0]))
    assert [data[row]["text"] for row in range(3)] == before
