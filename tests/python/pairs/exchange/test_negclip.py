"""NegCLIP's table, read back as its training reads it."""

from __future__ import annotations

import ast
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import helip
from helip import HardPairs
from support.data_samples import png, write_shard

CAPTIONS = ["a 'quoted' cat", 'a "double" dog', "tab\tand more", "naïve – ☕", "plain", "last"]
# 3 has none; 5 has 3 alone, which is not written; 4 has 5 alone, which falls with it.
IDS = np.array([[1, 2, 4], [2, 0, -1], [0, -1, -1], [-1, -1, -1], [5, -1, -1], [3, -1, -1]])


def table(ids: np.ndarray = IDS) -> HardPairs:
    return HardPairs.from_arrays(ids.astype(np.int32), np.where(ids >= 0, 0.5, 0))


@pytest.fixture
def data(tmp_path: Path) -> Any:
    return folder_of(tmp_path / "pictures")


def folder_of(folder: Path, without: tuple[int, ...] = ()) -> Any:
    folder.mkdir()
    lines = []
    for row, text in enumerate(CAPTIONS):
        lines.append({"file_name": f"{row}.png", "caption": text})
        if row not in without:
            (folder / f"{row}.png").write_bytes(png(row))
    pd.DataFrame(lines).to_json(folder / "data.jsonl", orient="records", lines=True)
    return helip.open_dataset(folder / "data.jsonl", progress=False)


def read(path: Path) -> pd.DataFrame:
    lists = {"neg_caption": ast.literal_eval, "neg_image": ast.literal_eval}
    return pd.read_csv(path, sep="\t", converters=lists)


def test_lists_name_captions_and_rows_of_the_file(data: Any, tmp_path: Path) -> None:
    ids = np.array([[1, 5, 4], [2, 0, -1], [0, -1, -1], [4, 2, -1], [5, -1, -1], [3, 1, -1]])
    assert table(ids).to_negclip(tmp_path / "n.tsv", data) == 6
    frame = read(tmp_path / "n.tsv")
    assert list(frame.columns) == ["title", "filepath", "neg_caption", "neg_image"]
    assert frame["title"].tolist() == CAPTIONS
    assert frame["filepath"].tolist() == [str(tmp_path / f"pictures/{i}.png") for i in range(6)]
    for row, pool in enumerate(ids):
        assert frame["neg_image"][row] == pool[pool >= 0].tolist()
        assert frame["neg_caption"][row] == [CAPTIONS[hard] for hard in pool[pool >= 0]]


def test_rows_that_training_could_not_draw_from_are_left_out(data: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="3 of 6 targets are left out"):
        assert table().to_negclip(tmp_path / "n.tsv", data) == 3
    frame = read(tmp_path / "n.tsv")
    assert frame["title"].tolist() == CAPTIONS[:3]
    assert frame["neg_image"].tolist() == [[1, 2], [2, 0], [0]]
    assert frame["neg_caption"][0] == CAPTIONS[1:3]


def test_rows_are_numbered_anew_where_some_are_left_out(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "damaged", without=(1,))
    ids = np.array([[1, 2, -1], [2, 0, -1], [5, 1, 0], [-1, -1, -1], [5, -1, -1], [4, 2, 0]])
    with pytest.warns(UserWarning, match=r"2 of 6 .* \(1 missing_image\)"):
        table(ids).to_negclip(tmp_path / "n.tsv", data)
    frame = read(tmp_path / "n.tsv")
    kept = [0, 2, 4, 5]
    assert frame["title"].tolist() == [CAPTIONS[row] for row in kept]
    assert [[kept[i] for i in pool] for pool in frame["neg_image"]] == [[2], [5, 0], [5], [4, 2, 0]]
    for captions, pool in zip(frame["neg_caption"], frame["neg_image"], strict=True):
        assert captions == [frame["title"][i] for i in pool]
        assert pool


def test_a_picture_whose_name_is_no_text_is_left_out_and_counted(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "bytes"
    folder.mkdir()
    for row, text in enumerate(CAPTIONS):
        stem = os.fsencode(folder / str(row)) + (b"\xe9" if row == 1 else b"")
        Path(os.fsdecode(stem + b".png")).write_bytes(png(row))
        Path(os.fsdecode(stem + b".txt")).write_text(text, encoding="utf-8")
    ids = np.array([[1, 2, -1], [2, 0, -1], [0, 1, -1], [1, -1, -1], [5, -1, -1], [4, 2, 0]])
    with pytest.warns(UserWarning, match=r"2 of 6 .* \(1 name_not_utf8\)"):
        count = table(ids).to_negclip(
            tmp_path / "n.tsv", helip.open_dataset(folder, progress=False)
        )
    assert count == 4
    assert read(tmp_path / "n.tsv")["title"].tolist() == [CAPTIONS[row] for row in (0, 2, 4, 5)]


def test_fewer_negatives_are_the_best(data: Any, tmp_path: Path) -> None:
    ids = np.array([[1, 2, 4], [2, 0, -1], [0, 1, 5], [4, 2, -1], [5, 3, -1], [4, 1, -1]])
    table(ids).to_negclip(tmp_path / "n.tsv", data, num_negatives=1)
    assert read(tmp_path / "n.tsv")["neg_image"].tolist() == ids[:, :1].tolist()


def test_pictures_without_files_are_refused(tmp_path: Path) -> None:
    shard = helip.open_dataset(str(write_shard(tmp_path / "0.tar", range(6))), progress=False)
    with pytest.raises(helip.UnsupportedError, match="no pictures in files of their own"):
        table().to_negclip(tmp_path / "n.tsv", shard)
    assert not (tmp_path / "n.tsv").exists()


def test_what_cannot_be_done_is_told(data: Any, tmp_path: Path) -> None:
    for path in ("", None, 5):
        with pytest.raises(helip.InvalidArgumentError, match="must name the file"):
            table().to_negclip(path, data)  # type: ignore[arg-type]
    (tmp_path / "n.tsv").write_text("mine")
    with pytest.raises(helip.InvalidArgumentError, match="overwrite=True"):
        table().to_negclip(tmp_path / "n.tsv", data)
    assert (tmp_path / "n.tsv").read_text() == "mine"
    with pytest.raises(helip.InvalidArgumentError, match="num_negatives is 4, must be at most 3"):
        table().to_negclip(tmp_path / "o.tsv", data, num_negatives=4)
    with pytest.raises(helip.MismatchError, match=r"6 rows with .* there, 2 rows with"):
        table().to_negclip(tmp_path / "o.tsv", data.subset([0, 1]))
