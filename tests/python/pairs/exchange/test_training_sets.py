"""Tables as sentence-transformers and NegCLIP train on them."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

import helip
from helip import HardPairs
from support.data_samples import assert_row_is, caption, picture, pixels, png, write_shard

FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")
ROWS = 8
IDS = np.array(
    [[1, 2, 3], [0, 2, -1], [-1, -1, -1], [7, 0, 1], [5, -1, -1], [4, 6, 7], [0, 1, 2], [6, 5, 3]],
    np.int32,
)


def table(data: Any = None) -> HardPairs:
    scores = np.where(IDS >= 0, [0.9, 0.8, 0.7], 0)
    return HardPairs.from_arrays(IDS, scores, data_fingerprint=data.fingerprint if data else "")


@pytest.fixture
def data(tmp_path: Path) -> Any:
    return csv_of(tmp_path / "csv")


def csv_of(folder: Path, empty: int | None = None, absent: int | None = None) -> Any:
    folder.mkdir()
    lines = ["image,caption"]
    for row in range(ROWS):
        if row != absent:
            (folder / f"{row}.png").write_bytes(png(row))
        text = "" if row == empty else caption(row)
        lines.append(f'{row}.png,"{text}"')
    (folder / "data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return helip.open_dataset(folder / "data.csv", progress=False)


def plain(kind: str, n: int, unreadable: int | None = None) -> list[dict[str, Any]]:
    """Rows of the format, with row numbers in place of captions and pictures."""
    rows: list[dict[str, Any]] = []
    for target, pool in enumerate(IDS[:, :n].tolist()):
        negatives = [row for row in pool if row not in (-1, unreadable)]
        if target == unreadable or len(negatives) < (n if kind == "n-tuple" else 1):
            continue
        start = {"anchor": target, "positive": target}
        if kind == "triplet":
            rows += [{**start, "negative": row} for row in negatives]
        elif kind == "n-tuple":
            rows.append({**start, **{f"negative_{i}": r for i, r in enumerate(negatives, 1)}})
        elif kind == "labeled-pair":
            for row in (target, *negatives):
                rows.append({"anchor": target, "positive": row, "label": int(row == target)})
        else:
            labels = [1, *(0 for _ in negatives)]
            rows.append({"anchor": target, "positive": [target, *negatives], "labels": labels})
    return rows


def numbered(found: Any) -> list[dict[str, Any]]:
    """Rows of a data set with the number of each caption and picture."""
    captions = {caption(row): row for row in range(ROWS)}
    pictures = {pixels(picture(row)).tobytes(): row for row in range(ROWS)}

    def number(value: Any) -> Any:
        if isinstance(value, list):
            return [number(each) for each in value]
        if isinstance(value, str):
            return captions[value]
        return value if isinstance(value, int) else pictures[pixels(value.convert("RGB")).tobytes()]

    return [{name: number(value) for name, value in row.items()} for row in found]


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("anchor", ["text", "image"])
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("kind", FORMATS)
def test_rows_are_those_of_a_loop(data: Any, kind: str, n: int, anchor: str) -> None:
    found = table(data).to_dataset(data, kind, anchor=anchor, num_negatives=n)
    wanted = plain(kind, n)
    assert wanted
    assert found.column_names == list(wanted[0])
    assert numbered(found) == wanted
    image, text = datasets.Image(), datasets.Value("string")
    assert found.features["anchor"] == (text if anchor == "text" else image)


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("kind", FORMATS)
def test_blocks_follow_each_other(data: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("helip.pairs.exchange.training_sets._CHUNK_ROWS", 7)
    assert numbered(table().to_dataset(data, kind, num_negatives=2)) == plain(kind, 2)


class _Model:
    """As much of a SentenceTransformer as mining by it needs: equal rows for equal texts."""

    device = torch.device("cpu")
    prompts: dict[str, str] = {}  # noqa: RUF012

    def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
        return np.stack([np.random.default_rng(len(text)).normal(size=4) for text in texts])

    encode_document = encode_query

    def similarity(self, a: Any, b: Any) -> torch.Tensor:
        return torch.as_tensor(np.asarray(a) @ np.asarray(b).T)

    def similarity_pairwise(self, a: Any, b: Any) -> torch.Tensor:
        return torch.as_tensor((np.asarray(a) * np.asarray(b)).sum(axis=1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_columns_are_those_of_mine_hard_negatives(data: Any, kind: str) -> None:
    util = pytest.importorskip("sentence_transformers.util")
    texts = {
        "anchor": [f"what is {'x' * row}" for row in range(6)],
        "positive": [f"it is {'y' * row}" for row in range(6)],
    }
    theirs = util.mine_hard_negatives(
        datasets.Dataset.from_dict(texts), _Model(), num_negatives=2, output_format=kind,
        verbose=False,
    )  # fmt: skip
    mine = table().to_dataset(data, kind, anchor="image", num_negatives=2)
    assert mine.column_names == theirs.column_names
    without_anchor = {name: kind for name, kind in mine.features.items() if name != "anchor"}
    assert without_anchor == {n: k for n, k in theirs.features.items() if n != "anchor"}
    captions = table().to_dataset(data, kind, anchor="text", num_negatives=2)
    assert captions.features["anchor"] == theirs.features["anchor"]


@pytest.mark.parametrize(("kind", "few"), [("triplet", 1), ("n-tuple", 3)])
def test_targets_without_enough_negatives_are_counted(data: Any, kind: str, few: int) -> None:
    words = rf"{few} of 8 targets are left out: {few} with fewer than \d negatives, 0 that cannot"
    with pytest.warns(UserWarning, match=words):
        found = table().to_dataset(data, kind)
    assert json.loads(found.info.description) == {
        "targets": 8, "kept": 8 - few, "too_few_negatives": few, "unreadable": 0,
        "unreadable_by_reason": {},
    }  # fmt: skip


@pytest.mark.parametrize("anchor", ["text", "image"])
def test_a_picture_whose_name_is_no_text_is_counted(tmp_path: Path, anchor: Any) -> None:
    broken = 7
    for row in range(ROWS):
        stem = os.fsencode(tmp_path / str(row)) + (b"\xe9" if row == broken else b"")
        Path(os.fsdecode(stem + b".png")).write_bytes(png(row))
        Path(os.fsdecode(stem + b".txt")).write_text(caption(row), encoding="utf-8")
    data = helip.open_dataset(tmp_path, progress=False)
    with pytest.warns(UserWarning, match="1 that cannot be read; .* 1 name_not_utf8"):
        found = table().to_dataset(data, "triplet", anchor=anchor)
    wanted = plain("triplet", 3, broken) if anchor == "text" else [
        row for row in plain("triplet", 3) if row["anchor"] != broken
    ]  # fmt: skip
    assert numbered(found) == wanted


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("what", ["caption", "picture"])
@pytest.mark.parametrize("anchor", ["text", "image"])
def test_what_cannot_be_read_is_left_out_and_counted(
    tmp_path: Path, kind: str, what: str, anchor: str
) -> None:
    broken = 7
    lost = {"empty": broken} if what == "caption" else {"absent": broken}
    data = csv_of(tmp_path / "damaged", **lost)
    reason = "missing_caption" if what == "caption" else "missing_image"
    with pytest.warns(UserWarning, match=f"1 that cannot be read; .* 1 {reason}"):
        found = table().to_dataset(data, kind, anchor=anchor)
    account = json.loads(found.info.description)
    assert account["unreadable_by_reason"] == {reason: 1}
    is_negative_gone = (what == "caption") == (anchor == "image")
    wanted = plain(kind, 3, broken) if is_negative_gone else [
        row for row in plain(kind, 3) if row["anchor"] != broken
    ]  # fmt: skip
    assert numbered(found) == wanted


@pytest.mark.filterwarnings("ignore:.*left out")
def test_pictures_with_files_are_paths_and_others_their_bytes(tmp_path: Path, data: Any) -> None:
    raw = datasets.Image(decode=False)
    by_path = table().to_dataset(data).cast_column("positive", raw)[0]["positive"]
    assert by_path == {"bytes": None, "path": str(tmp_path / "csv" / "0.png")}
    shard = helip.open_dataset(str(write_shard(tmp_path / "0.tar", range(ROWS))), progress=False)
    found = table().to_dataset(shard)
    assert found.cast_column("positive", raw)[0]["positive"] == {"bytes": png(0), "path": None}
    assert numbered(found) == plain("triplet", 3)
    memory = helip.open_dataset([(picture(row), caption(row)) for row in range(ROWS)])
    assert_row_is(memory, 3, 3)
    assert numbered(table().to_dataset(memory)) == plain("triplet", 3)


@pytest.mark.filterwarnings("ignore:.*left out")
def test_the_data_set_is_saved_and_loaded(tmp_path: Path, data: Any) -> None:
    table().to_dataset(data, "labeled-list").save_to_disk(tmp_path / "out")
    assert numbered(datasets.load_from_disk(tmp_path / "out")) == plain("labeled-list", 3)


def test_a_table_without_hard_pairs_gives_no_rows(data: Any) -> None:
    nothing = HardPairs.from_arrays(np.full((ROWS, 2), -1, np.int32), np.zeros((ROWS, 2)))
    with pytest.warns(UserWarning, match="8 of 8 targets"):
        found = nothing.to_dataset(data, "n-tuple", num_negatives=2)
    assert (len(found), found.column_names[-1]) == (0, "negative_2")


def test_what_cannot_be_done_is_told(
    tmp_path: Path, data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = table(data)
    for options, words in (
        ({"format": "pair"}, "format is 'pair'"),
        ({"anchor": "audio"}, "anchor is 'audio'"),
        ({"num_negatives": 0}, "num_negatives is 0, must be at least 1"),
        ({"num_negatives": 4}, "num_negatives is 4, must be at most 3"),
    ):
        with pytest.raises(helip.InvalidArgumentError, match=words):
            pairs.to_dataset(data, **options)
    with pytest.raises(helip.MismatchError, match="the captions differ"):
        pairs.to_dataset(csv_of(tmp_path / "other", empty=1))
    with pytest.raises(helip.MismatchError, match="8 rows there, 2 rows with"):
        table().to_dataset(data.subset([0, 1]))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(helip.UnsupportedError, match=r"helip\[data\]"):
        pairs.to_dataset(data)


CAPTIONS = ["a 'quoted' cat", 'a "double" dog', "tab\tand more", "naïve – ☕", "plain", "last"]
# 3 has none; 5 has 3 alone, which is not written; 4 has 5 alone, which falls with it.
CLOSED_IDS = np.array([[1, 2, 4], [2, 0, -1], [0, -1, -1], [-1, -1, -1], [5, -1, -1], [3, -1, -1]])


def negclip_table(ids: np.ndarray = CLOSED_IDS) -> HardPairs:
    return HardPairs.from_arrays(ids.astype(np.int32), np.where(ids >= 0, 0.5, 0))


@pytest.fixture
def files(tmp_path: Path) -> Any:
    return folder_of(tmp_path / "pictures")


def folder_of(folder: Path, without: tuple[int, ...] = ()) -> Any:
    folder.mkdir()
    lines = []
    for row, text in enumerate(CAPTIONS):
        lines.append({"file_name": f"{row}.png", "caption": text})
        if row not in without:
            (folder / f"{row}.png").write_bytes(png(row))
    pd.DataFrame(lines).to_json(folder / "files.jsonl", orient="records", lines=True)
    return helip.open_dataset(folder / "files.jsonl", progress=False)


def read(path: Path) -> pd.DataFrame:
    lists = {"neg_caption": ast.literal_eval, "neg_image": ast.literal_eval}
    return pd.read_csv(path, sep="\t", converters=lists)


def test_lists_name_captions_and_rows_of_the_file(files: Any, tmp_path: Path) -> None:
    ids = np.array([[1, 5, 4], [2, 0, -1], [0, -1, -1], [4, 2, -1], [5, -1, -1], [3, 1, -1]])
    assert negclip_table(ids).to_negclip(tmp_path / "n.tsv", files) == 6
    frame = read(tmp_path / "n.tsv")
    assert list(frame.columns) == ["title", "filepath", "neg_caption", "neg_image"]
    assert frame["title"].tolist() == CAPTIONS
    assert frame["filepath"].tolist() == [str(tmp_path / f"pictures/{i}.png") for i in range(6)]
    for row, pool in enumerate(ids):
        assert frame["neg_image"][row] == pool[pool >= 0].tolist()
        assert frame["neg_caption"][row] == [CAPTIONS[hard] for hard in pool[pool >= 0]]


def test_rows_that_training_could_not_draw_from_are_left_out(files: Any, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="3 of 6 targets are left out"):
        assert negclip_table().to_negclip(tmp_path / "n.tsv", files) == 3
    frame = read(tmp_path / "n.tsv")
    assert frame["title"].tolist() == CAPTIONS[:3]
    assert frame["neg_image"].tolist() == [[1, 2], [2, 0], [0]]
    assert frame["neg_caption"][0] == CAPTIONS[1:3]


def test_rows_are_numbered_anew_where_some_are_left_out(tmp_path: Path) -> None:
    files = folder_of(tmp_path / "damaged", without=(1,))
    ids = np.array([[1, 2, -1], [2, 0, -1], [5, 1, 0], [-1, -1, -1], [5, -1, -1], [4, 2, 0]])
    with pytest.warns(UserWarning, match=r"2 of 6 .* \(1 missing_image\)"):
        negclip_table(ids).to_negclip(tmp_path / "n.tsv", files)
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
        count = negclip_table(ids).to_negclip(
            tmp_path / "n.tsv", helip.open_dataset(folder, progress=False)
        )
    assert count == 4
    assert read(tmp_path / "n.tsv")["title"].tolist() == [CAPTIONS[row] for row in (0, 2, 4, 5)]


def test_fewer_negatives_are_the_best(files: Any, tmp_path: Path) -> None:
    ids = np.array([[1, 2, 4], [2, 0, -1], [0, 1, 5], [4, 2, -1], [5, 3, -1], [4, 1, -1]])
    negclip_table(ids).to_negclip(tmp_path / "n.tsv", files, num_negatives=1)
    assert read(tmp_path / "n.tsv")["neg_image"].tolist() == ids[:, :1].tolist()


def test_pictures_without_files_are_refused(tmp_path: Path) -> None:
    shard = helip.open_dataset(str(write_shard(tmp_path / "0.tar", range(6))), progress=False)
    with pytest.raises(helip.UnsupportedError, match="no pictures in files of their own"):
        negclip_table().to_negclip(tmp_path / "n.tsv", shard)
    assert not (tmp_path / "n.tsv").exists()


def test_what_negclip_cannot_be_given_is_told(files: Any, tmp_path: Path) -> None:
    for path in ("", None, 5):
        with pytest.raises(helip.InvalidArgumentError, match="must name the file"):
            negclip_table().to_negclip(path, files)  # type: ignore[arg-type]
    (tmp_path / "n.tsv").write_text("mine")
    with pytest.raises(helip.InvalidArgumentError, match="overwrite=True"):
        negclip_table().to_negclip(tmp_path / "n.tsv", files)
    assert (tmp_path / "n.tsv").read_text() == "mine"
    with pytest.raises(helip.InvalidArgumentError, match="num_negatives is 4, must be at most 3"):
        negclip_table().to_negclip(tmp_path / "o.tsv", files, num_negatives=4)
    with pytest.raises(helip.MismatchError, match="6 rows there, 2 rows with"):
        negclip_table().to_negclip(tmp_path / "o.tsv", files.subset([0, 1]))
