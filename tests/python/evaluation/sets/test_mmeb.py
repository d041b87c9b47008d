"""Sets in MMEB's format on disk, and what is refused."""

from __future__ import annotations

import pytest

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.evaluation.sets.mmeb import group_of, holds_mmeb, open_mmeb
from helip.evaluation.sets.opening import open_evaluation_set
from support.evaluate_samples import write_mmeb

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

SETS = {
    "VisDial": [
        (("a dog", ""), [("", "a.png"), ("", "b.png"), ("", "a.png")]),
        (("a cat", ""), [("", "b.png"), ("", "a.png")]),
    ],
    "OK-VQA": [(("what is it", "a.png"), [("dog", ""), ("cat", ""), ("what is it", "b.png")])],
    "mine": [(("", "b.png"), [("cat", ""), ("dog", "")])],
}


@pytest.fixture
def folder(tmp_path):
    return write_mmeb(tmp_path / "MMEB-eval", SETS)


def said(data):
    """The set as it was written."""
    pairs = [
        ("" if text < 0 else data.texts[text], "" if picture < 0 else data.pictures.keys[picture])
        for text, picture in data.inputs.tolist()
    ]
    found = {}
    for query in range(len(data)):
        chosen = data.candidates[data.offsets[query] : data.offsets[query + 1]]
        row = (pairs[data.queries[query]], [pairs[each] for each in chosen])
        found.setdefault(data.names[data.sets[query]], []).append(row)
    return found


def test_queries_and_candidates_are_read_as_they_were_written(folder):
    data = open_mmeb(folder)
    assert said(data) == SETS
    assert len(data) == 4
    assert len(set(map(tuple, data.inputs.tolist()))) == len(data.inputs)
    found = open_evaluation_set(folder)
    assert found.tasks == ("choice",)
    assert found.data.fingerprint == data.fingerprint


def test_the_fingerprint_tells_other_queries_and_candidates(folder, tmp_path):
    before = open_mmeb(folder).fingerprint
    turned = {**SETS, "mine": [(query, options[::-1]) for query, options in SETS["mine"]]}
    assert open_mmeb(write_mmeb(tmp_path / "turned", turned)).fingerprint != before
    renamed = {"mine too" if name == "mine" else name: rows for name, rows in SETS.items()}
    assert open_mmeb(write_mmeb(tmp_path / "renamed", renamed)).fingerprint != before


@pytest.mark.parametrize("place", ["", "test"])
def test_the_folder_of_one_data_set_and_its_file_are_called_as_the_folder(tmp_path, place):
    write_mmeb(tmp_path, {"VOC2007": SETS["mine"]})
    file = tmp_path / "VOC2007" / "test-00000-of-00001.parquet"
    if place:
        (tmp_path / "VOC2007" / place).mkdir()
        file = file.rename(tmp_path / "VOC2007" / place / "0000.parquet")
    for source in (tmp_path, tmp_path / "VOC2007", file):
        assert said(open_mmeb(source)) == {"VOC2007": SETS["mine"]}
        assert holds_mmeb(source)
    other_split = tmp_path / "VOC2007" / "train"
    other_split.mkdir()
    (other_split / "0000.parquet").write_bytes(file.read_bytes())
    for source in (tmp_path, tmp_path / "VOC2007"):
        assert said(open_mmeb(source)) == {"VOC2007": SETS["mine"]}


def test_one_empty_text_stands_for_those_of_all_candidates(tmp_path):
    rows = {
        "qry_text": ["a dog"], "qry_img_path": [""], "tgt_text": [""],
        "tgt_img_path": [["a.png", "b.png"]],
    }  # fmt: skip
    parquet.write_table(pyarrow.table(rows), tmp_path / "x.parquet")
    expected = [(("a dog", ""), [("", "a.png"), ("", "b.png")])]
    assert list(said(open_mmeb(tmp_path)).values()) == [expected]


def test_large_lists_as_polars_writes_them_are_read(tmp_path):
    large = pyarrow.large_list(pyarrow.large_string())
    lists = {name: pyarrow.array(GOOD[name], type=large) for name in ("tgt_text", "tgt_img_path")}
    parquet.write_table(pyarrow.table({**GOOD, **lists}), tmp_path / "x.parquet")
    assert len(open_mmeb(tmp_path).candidates) == 4


def test_groups_are_those_of_mmeb():
    assert group_of("ImageNet-1K") == "classification"
    assert group_of("GQA") == "VQA"
    assert group_of("MSCOCO_t2i") == "retrieval"
    assert group_of("MSCOCO") == "grounding"
    assert group_of("mine") == "other"


def test_pictures_lie_in_images_or_where_it_is_said(folder, tmp_path):
    assert open_mmeb(folder).pictures._root == str(folder)
    (folder / "images").mkdir()
    assert open_mmeb(folder).pictures._root == str(folder / "images")
    assert open_mmeb(folder, pictures=tmp_path).pictures._root == str(tmp_path)
    with pytest.raises(InvalidArgumentError, match="is no folder; give the folder of the pictures"):
        open_mmeb(folder, pictures=tmp_path / "absent")


GOOD = {
    "qry_text": ["what", "what"],
    "qry_img_path": ["", ""],
    "tgt_text": [["a", "b"], ["a", "b"]],
    "tgt_img_path": [["", "x.png"], ["", ""]],
}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"tgt_text": None}, "has no column 'tgt_text'"),
        ({"tgt_text": [["a", "b"], ["a"]]}, "row 1 has 1 of tgt_text and 2 of tgt_img_path"),
        ({"tgt_text": [["a"], ["a", "b"]], "tgt_img_path": [["x"], ["", ""]]}, "row 0 has 1 of"),
        ({"tgt_text": ["", ""], "tgt_img_path": ["", ""]}, "row 0 has 0 of tgt_text and 0 of"),
        ({"tgt_text": ["a", "b"]}, "tgt_text holds strings; give a list a query"),
        ({"qry_text": [1, 2]}, "qry_text is of type int64; it must hold strings"),
        ({"tgt_text": [[1, 2], [3, 4]]}, "tgt_text is of type list.*; it must hold lists of strin"),
        ({"qry_text": ["what", ""]}, "row 1 has a query or a candidate without text and picture"),
        ({"tgt_text": [["a", "b"], ["a", None]]}, "row 1 has a query or a candidate without text"),
        ({"tgt_img_path": [["", ""], ["", ""]]}, "names no picture; give sets with pictures"),
    ],
)
def test_bad_rows_are_named_with_their_place(tmp_path, changed, words):
    columns = {name: column for name, column in (GOOD | changed).items() if column is not None}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    with pytest.raises(InvalidArgumentError, match=words):
        open_mmeb(tmp_path)


def test_a_damaged_file_and_other_data_are_none_of_it(tmp_path):
    assert not holds_mmeb(tmp_path)
    with pytest.raises(InvalidArgumentError, match="has no Parquet files"):
        open_mmeb(tmp_path)
    file = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table({"image": ["x"], "caption": ["y"]}), file)
    assert not holds_mmeb(tmp_path) and not holds_mmeb(file)
    file.write_bytes(b"PAR1 and no more")
    assert not holds_mmeb(tmp_path)
    with pytest.raises(CorruptError, match="is not a whole Parquet file"):
        open_mmeb(tmp_path)


@pytest.mark.parametrize("given", [{"classes": ["a"]}, {"split": "val"}, {"limit": 1}])
def test_options_of_other_data_are_refused(folder, given):
    with pytest.raises(InvalidArgumentError, match="MMEB's format"):
        open_evaluation_set(folder, **given)
