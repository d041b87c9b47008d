"""How large pictures are where they lie, without reading them."""

from __future__ import annotations

import numpy as np

from helip.data.opening import open_dataset
from support.data_samples import png, write_shard
from support.train_samples import Colours

ROWS = np.array([4, 0, 4])


def test_of_a_shard_they_are_the_sizes_of_its_members(tmp_path):
    data = open_dataset(str(write_shard(tmp_path / "0.tar", range(5))))
    assert data.picture_bytes(ROWS).tolist() == [len(png(number)) for number in ROWS]


def test_of_a_folder_they_are_the_sizes_of_its_files(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(png(number) + b"\0" * number)
        (tmp_path / f"{number}.txt").write_text("a picture")
    data = open_dataset(str(tmp_path))
    assert data.picture_bytes(ROWS).tolist() == [len(png(number)) + number for number in ROWS]
    assert data.subset([3, 1]).picture_bytes(np.array([1])).tolist() == [len(png(1)) + 1]


def test_of_pictures_in_memory_they_are_not_known():
    assert Colours(5).picture_bytes(ROWS).tolist() == [0, 0, 0]
