"""Folders of pictures: text files, tables, labels, and what is not a picture."""

from __future__ import annotations

import json

import pytest

from helip.common.errors import CorruptError, InvalidArgumentError, SampleError
from helip.data.opening import open_dataset
from support.data_samples import assert_row_is, caption, encoded, picture, write_pictures


def reason_of(read, *args) -> str:
    with pytest.raises(SampleError) as caught:
        read(*args)
    return caught.value.reason


def write_captioned(folder, numbers):
    for number, name in zip(numbers, write_pictures(folder, numbers), strict=True):
        (folder / name).with_suffix(".txt").write_text(caption(number))


def test_keys_are_paths_without_extension_in_sorted_order(tmp_path):
    write_captioned(tmp_path / "b", [3])
    write_captioned(tmp_path / "a", [2, 1])
    write_captioned(tmp_path, [0])
    data = open_dataset(tmp_path)
    assert data.keys == ["00000", "a/00001", "a/00002", "b/00003"]
    for row in range(4):
        assert_row_is(data, row, row)


def test_subfolders_are_labels_where_there_are_several(tmp_path):
    write_captioned(tmp_path / "animals" / "birds", [0])
    assert open_dataset(tmp_path).label(0) is None
    write_captioned(tmp_path / "food", [1])
    data = open_dataset(tmp_path)
    assert [data.label(0), data.label(1)] == ["animals/birds", "food"]


@pytest.mark.parametrize("stem", ["metadata", "captions"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "json"])
def test_captions_come_from_a_table_at_the_top(tmp_path, stem, suffix):
    names = write_pictures(tmp_path, range(3))
    rows = [{"file_name": n, "text": caption(i), "label": f"c{i}"} for i, n in enumerate(names)]
    if suffix == "json":
        text = json.dumps(rows)
    elif suffix == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        separator = "," if suffix == "csv" else "\t"
        quote = '"' if suffix == "csv" else ""
        lines = [separator.join(rows[0])]
        lines += [separator.join(f"{quote}{cell}{quote}" for cell in r.values()) for r in rows]
        text = "\n".join(lines) + "\n"
    (tmp_path / f"{stem}.{suffix}").write_text(text)
    data = open_dataset(tmp_path)
    assert data.keys == ["00000", "00001", "00002"]
    assert data.label(2) == "c2"
    for row in range(3):
        assert_row_is(data, row, row)


def test_a_json_table_can_map_names_to_captions(tmp_path):
    names = write_pictures(tmp_path, range(2))
    (tmp_path / "captions.json").write_text(
        json.dumps({n: caption(i) for i, n in enumerate(names)})
    )
    assert_row_is(open_dataset(tmp_path), 1, 1)


def test_pictures_and_table_rows_without_each_other_stay_rows(tmp_path):
    write_captioned(tmp_path, [0])
    write_pictures(tmp_path, [1])
    (tmp_path / "metadata.csv").write_text("file_name,text\nlost.png,nothing\n")
    (tmp_path / "alone.txt").write_text("no picture")
    (tmp_path / "notes.md").write_text("")
    (tmp_path / ".DS_Store").write_text("")
    data = open_dataset(tmp_path)
    assert data.keys == ["00000", "00001", "lost"]
    assert_row_is(data, 0, 0)
    assert reason_of(data.__getitem__, 1) == "missing_caption"
    assert reason_of(data.__getitem__, 2) == "missing_image"
    assert data.counts() == {
        "rows": 3,
        "missing_image": 1,
        "missing_caption": 1,
        "ignored_hidden": 1,
        "ignored_other": 1,
        "ignored_text": 1,
    }
    assert data.ignored_files == ["notes.md", "alone.txt"]


def test_two_pictures_of_one_stem_are_refused_with_both_paths(tmp_path):
    write_captioned(tmp_path, [0])
    (tmp_path / "00000.bmp").write_bytes(encoded(picture(0), "BMP"))
    with pytest.raises(InvalidArgumentError, match=r"00000\.bmp and .*00000\.png"):
        open_dataset(tmp_path)


def test_a_picture_in_several_rows_of_the_table_has_the_captions_of_all(tmp_path):
    write_pictures(tmp_path, [0, 1])
    (tmp_path / "metadata.csv").write_text(
        "file_name,text\n00000.png,a\n00001.png,c\n./00000.png,b\n00000.png,a\n"
    )
    data = open_dataset(tmp_path)
    assert [data.captions(row) for row in range(2)] == [("a", "b"), ("c",)]
    assert data[0]["text"] == data.caption(0) == "a"
    assert data.counts()["several_captions"] == 1
    assert data.counts()["joined_rows"] == 2


@pytest.mark.parametrize(
    "value",
    [
        {
            "images": [{"id": 7, "file_name": "00000.png"}, {"id": 9, "file_name": "00001.png"}],
            "annotations": [
                {"image_id": 7, "caption": "a"},
                {"image_id": 9, "caption": "c"},
                {"image_id": 7, "caption": "b"},
            ],
        },
        {
            "images": [
                {"filename": "00000.png", "sentences": [{"raw": "a"}, {"raw": "b"}]},
                {"filename": "00001.png", "sentences": [{"raw": "c"}]},
            ]
        },
        [{"file_name": "00000.png", "text": ["a", "b"]}, {"file_name": "00001.png", "text": ["c"]}],
    ],
)
def test_captions_in_the_layouts_of_coco_and_flickr_are_all_there(tmp_path, value):
    write_pictures(tmp_path, [0, 1])
    (tmp_path / "captions.json").write_text(json.dumps(value))
    data = open_dataset(tmp_path)
    assert [data.captions(row) for row in range(2)] == [("a", "b"), ("c",)]


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "", "a/../../b.png"])
def test_a_table_row_outside_of_the_folder_is_refused(tmp_path, name):
    write_pictures(tmp_path, [0])
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{name},a\n")
    with pytest.raises(InvalidArgumentError, match="row 1"):
        open_dataset(tmp_path)


def test_several_tables_are_refused(tmp_path):
    for name in ("metadata.csv", "captions.tsv"):
        (tmp_path / name).write_text("")
    with pytest.raises(InvalidArgumentError, match=r"metadata\.csv, captions\.tsv"):
        open_dataset(tmp_path)


def test_a_folder_without_pictures_is_told_what_is_accepted(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"no pictures(.|\n)*tar shards"):
        open_dataset(tmp_path)


def test_a_table_that_is_no_json_names_the_file(tmp_path):
    (tmp_path / "captions.json").write_text("[1, 2")
    with pytest.raises(CorruptError, match=r"captions\.json is not valid JSON"):
        open_dataset(tmp_path)


def test_links_out_of_the_folder_are_not_followed_unless_trusted(tmp_path):
    write_captioned(tmp_path / "outside", [0])
    write_captioned(tmp_path / "set", [1])
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "set" / "out.png").symlink_to(tmp_path / "outside" / "00000.png")
    (tmp_path / "set" / "out.txt").write_text("linked")
    data = open_dataset(tmp_path / "set")
    assert data.keys == ["00001", "out"]
    assert reason_of(data.image, 1) == "outside_root"
    assert data.counts()["ignored_link"] == 1
    trusting = open_dataset(tmp_path / "set", follow_links=True)
    assert trusting.keys == ["00001", "linked/00000", "out"]
    assert_row_is(trusting, 1, 0)


def test_a_link_to_a_folder_above_ends(tmp_path):
    write_captioned(tmp_path / "set", [1])
    (tmp_path / "set" / "again").symlink_to(tmp_path / "set")
    data = open_dataset(tmp_path / "set", follow_links=True)
    assert data.keys == ["00001"]
    assert data.counts()["ignored_link"] == 1


def test_a_text_file_that_is_not_utf8_is_one_bad_sample(tmp_path):
    write_captioned(tmp_path, [0, 1])
    (tmp_path / "00000.txt").write_bytes(b"caf\xe9")
    data = open_dataset(tmp_path)
    assert reason_of(data.caption, 0) == "unreadable_caption"
    (tmp_path / "00001.txt").unlink()
    assert reason_of(data.caption, 1) == "missing_caption"


def test_file_names_that_are_not_utf8_are_read(tmp_path):
    write_captioned(tmp_path, [0])
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    (tmp_path / "00000.png").rename(tmp_path / name)
    (tmp_path / "00000.txt").rename((tmp_path / name).with_suffix(".txt"))
    data = open_dataset(tmp_path)
    assert data.keys == ["caf\\udce9"]
    assert_row_is(data, 0, 0)


def test_options_that_do_not_apply_are_refused(tmp_path):
    write_captioned(tmp_path, [0])
    with pytest.raises(InvalidArgumentError, match="folder without a table"):
        open_dataset(tmp_path, caption_column="text")
    with pytest.raises(InvalidArgumentError, match="keys are its paths"):
        open_dataset(tmp_path, key_column="id")
