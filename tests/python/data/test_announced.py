"""A data set is told of rows before they are read."""

from __future__ import annotations

import numpy as np
import pytest

from helip.data.announced import TOLD, announced
from helip.data.dataset import Dataset
from helip.data.opening import open_dataset
from support.data_samples import write_shard


class Told:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def _will_need(self, rows: np.ndarray) -> None:
        assert rows.dtype == np.int64
        self.rows += rows.tolist()


@pytest.mark.parametrize("count", [0, 1, TOLD, TOLD + 1, 2 * TOLD, 5 * TOLD + 3])
def test_each_row_is_told_once_and_in_time(count):
    rows = np.random.default_rng(0).permutation(count).tolist()
    data, read = Told(), []
    for row in announced(data, rows):
        read.append(row)
        assert len(data.rows) >= min(count, len(read) + TOLD)
        assert len(data.rows) <= len(read) + 2 * TOLD
    assert read == data.rows == rows


def test_data_that_takes_no_hint_is_read_all_the_same():
    assert list(announced(object(), [3, 1])) == [3, 1]


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
