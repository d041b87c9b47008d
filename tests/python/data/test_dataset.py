"""How large pictures are where they lie, without reading them, and where that is."""

from __future__ import annotations

import datasets
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
