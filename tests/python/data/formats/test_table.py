"""CSV, TSV, JSON lines and Parquet: columns, keys, paths, and damaged tables."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter

import numpy as np
import pytest
import torch

from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError, SampleError
from helip.data.formats.text_table import read_rows
from helip.data.image_transform import ImageTransform
from helip.data.opening import open_dataset
from helip.data.picture_reader import TransformedPictures
from support.data_samples import assert_row_is, caption, picture, pixels, png, write_pictures

ROWS = 6


@pytest.fixture
def names(tmp_path):
    return [f"images/{name}" for name in write_pictures(tmp_path / "images", range(ROWS))]


def write_csv(path, header, rows, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def write_parquet(path, row_group_size=2, **columns):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def reason_of(read, *args) -> str:
    with pytest.raises(SampleError) as caught:
        read(*args)
    return caught.value.reason


# Text tables


@pytest.mark.parametrize("image", ["image", "image_path", "filepath", "file_name", "Filename"])
@pytest.mark.parametrize("text", ["caption", "text", "title", "TEXT"])
def test_usual_column_names_are_found(tmp_path, names, image, text):
    rows = [[i, caption(i), name] for i, name in enumerate(names)]
    data = open_dataset(write_csv(tmp_path / "t.csv", ["n", text, image], rows))
    assert data.keys == names
    assert_row_is(data, 4, 4)


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t"), ("csv", "\t"),
                                                   ("csv", ";")])  # fmt: skip
def test_the_separator_is_that_of_the_header(tmp_path, names, suffix, delimiter):
    rows = [[name, caption(i)] for i, name in enumerate(names)]
    path = write_csv(tmp_path / f"t.{suffix}", ["filepath", "title"], rows, delimiter)
    assert_row_is(open_dataset(path), 5, 5)


def test_columns_can_be_named(tmp_path, names):
    header = ["picture", "words", "name", "kind", "caption"]
    rows = [[n, caption(i), f"k{i}", f"c{i % 2}", "no"] for i, n in enumerate(names)]
    data = open_dataset(
        write_csv(tmp_path / "t.csv", header, rows),
        image_column="picture",
        caption_column="words",
        key_column="name",
        label_column="kind",
    )
    assert data.keys == [f"k{i}" for i in range(ROWS)]
    assert [data.label(i) for i in range(3)] == ["c0", "c1", "c0"]
    assert_row_is(data, 3, 3)


def test_an_absent_column_is_told_with_those_that_are_there(tmp_path):
    path = write_csv(tmp_path / "t.csv", ["a", "b"], [["x", "y"]])
    with pytest.raises(InvalidArgumentError, match=r"image_column=.*|'a', 'b'"):
        open_dataset(path)
    with pytest.raises(InvalidArgumentError, match=r"no column 'c'; its columns: 'a', 'b'"):
        open_dataset(path, image_column="c")


def test_two_columns_of_the_chosen_name_are_refused(tmp_path):
    path = write_csv(tmp_path / "t.csv", ["image", "caption", "caption"], [["x", "y", "z"]])
    with pytest.raises(InvalidArgumentError, match="two columns named 'caption'"):
        open_dataset(path)


def test_quotes_line_breaks_and_a_byte_order_mark_are_read(tmp_path, names):
    text = 'image,caption\n{},"a ""quoted"", long\ncaption"\n{},plain\n'.format(*names[:2])
    (tmp_path / "t.csv").write_text("\ufeff" + text, encoding="utf-8")
    data = open_dataset(tmp_path / "t.csv")
    assert data.keys == names[:2]
    assert data.caption(0) == 'a "quoted", long\ncaption'


def test_several_tables_are_one_data_set(tmp_path, names):
    for part in range(3):
        rows = [[names[i], caption(i)] for i in (2 * part, 2 * part + 1)]
        write_csv(tmp_path / f"{part}.csv", ["image", "caption"], rows)
    data = open_dataset(str(tmp_path / "{0..2}.csv"))
    assert data.keys == names
    assert_row_is(data, 3, 3)
    write_csv(tmp_path / "1.csv", ["image", "text"], [[names[2], "x"]])
    with pytest.raises(InvalidArgumentError, match=r"1\.csv has the columns"):
        open_dataset(str(tmp_path / "{0..2}.csv"))


def test_json_lines_are_read(tmp_path, names):
    lines = [json.dumps({"file_name": n, "text": caption(i)}) for i, n in enumerate(names)]
    (tmp_path / "t.jsonl").write_text("\n".join(lines) + "\n\n")
    assert_row_is(open_dataset(tmp_path / "t.jsonl"), 2, 2)
    (tmp_path / "t.jsonl").write_text(lines[0] + "\n{broken\n")
    with pytest.raises(CorruptError, match=r"t\.jsonl line 2 is not valid JSON"):
        open_dataset(tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"image,caption\na.png,x\nb.png\n", "line 3 has 1 fields"),
        (b"image,caption\na.png,x,y\n", "line 2 has 3 fields"),
        (b'image,caption\na.png,"x" y\n', "line 2"),
        (b'image,caption\na.png,"x\nb.png,y\n', "line 3"),
        (b"image,caption\na.png,caf\xe9\n", "line 2 is not UTF-8"),
        (b"im\xe9ge,caption\na.png,x\n", "line 1 is not UTF-8"),
        (b"image,caption\na.png," + b"x" * 200_000 + b"\n", "line 2"),
    ],
)
def test_a_damaged_table_names_the_place(tmp_path, body, place):
    (tmp_path / "t.csv").write_bytes(body)
    with pytest.raises(CorruptError, match=rf"t\.csv.*{place}"):
        open_dataset(tmp_path / "t.csv")


def test_lines_that_a_quote_joins_are_counted(tmp_path, names):
    path = tmp_path / "t.csv"
    path.write_text(f'image,caption\n{names[0]},"a\nb\n\nc"\n\n{names[1]},d\n')
    data = open_dataset(path)
    assert [data.caption(row) for row in range(2)] == ["a\nb\n\nc", "d"]
    assert data.counts()["joined_lines"] == 3
    path.write_text(f"image,caption\n{names[0]},a\n\n{names[1]},b\n")
    assert "joined_lines" not in open_dataset(path).counts()


def test_a_name_without_its_extension_is_told_of_the_file_that_is_there(tmp_path, names):
    stem = names[0].rpartition(".")[0]
    data = open_dataset(write_csv(tmp_path / "t.csv", ["image", "caption"], [[stem, "a"]]))
    with pytest.raises(SampleError, match=r"00000'; '00000.png' is there: .* the extension"):
        data[0]


@pytest.mark.parametrize("body", [b"", b"\n", b"image,caption\n"])
def test_a_table_without_header_or_rows_is_refused(tmp_path, body):
    (tmp_path / "t.csv").write_bytes(body)
    with pytest.raises(InvalidArgumentError, match=r"header|no samples"):
        open_dataset(tmp_path / "t.csv")


# Keys


def test_a_picture_in_several_rows_is_one_row_with_all_captions_or_by_number_several(
    tmp_path, names
):
    rows = [[names[0], "x"], [names[1], "y"], [names[0], "z"]]
    path = write_csv(tmp_path / "t.csv", ["image", "caption"], rows)
    joined = open_dataset(path)
    assert joined.keys == names[:2]
    assert [joined.captions(row) for row in range(2)] == [("x", "z"), ("y",)]
    assert joined.counts()["joined_rows"] == 1
    assert joined.image_groups() is None
    data = open_dataset(path, key_column="row")
    assert data.image_groups().tolist() == [1, 2, 1]
    assert data.keys == ["000000000", "000000001", "000000002"]
    assert data.caption(2) == "z"


def test_one_path_in_tables_of_two_folders_is_two_pictures(tmp_path, names):
    paths = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        rows = [[names[0], "x"], ["", "nothing"], [names[1], "y"], [names[0], "z"], ["", "nor"]]
        paths.append(write_csv(tmp_path / folder / "t.csv", ["image", "caption"], rows))
    data = open_dataset(paths, key_column="row")
    groups = data.image_groups().tolist()
    assert [groups.index(group) for group in groups] == [0, 1, 2, 0, 4, 5, 6, 7, 5, 9]


def test_an_empty_cell_of_the_key_column_is_refused(tmp_path):
    path = write_csv(
        tmp_path / "t.csv", ["image", "caption", "id"], [["a", "x", "1"], ["b", "y", ""]]
    )
    with pytest.raises(InvalidArgumentError, match="row 2 has no key"):
        open_dataset(path, key_column="id")


# Bad rows


def test_rows_without_picture_or_caption_stay_rows(tmp_path, names):
    rows = [[names[0], " "], ["", "no picture"], ["", "nor here"], ["gone.png", "absent"]]
    data = open_dataset(write_csv(tmp_path / "t.csv", ["image", "caption"], rows))
    assert data.keys == [names[0], "row-000000001", "row-000000002", "gone.png"]
    assert reason_of(data.__getitem__, 0) == "missing_caption"
    for row in (1, 2, 3):
        assert reason_of(data.__getitem__, row) == "missing_image"
    assert data.counts() == {"rows": 4, "missing_image": 2, "missing_caption": 1}


def test_addresses_are_refused_on_opening(tmp_path):
    path = write_csv(tmp_path / "t.csv", ["image", "caption"], [["http://host/a.png", "x"]])
    with pytest.raises(InvalidArgumentError, match=r"row 1: .*img2dataset"):
        open_dataset(path)


@pytest.mark.parametrize(
    ("name", "root"),
    [("../secret.png", None), ("a/../../secret.png", None), ("/etc/passwd", "."), ("../a", ".")],
)
def test_a_path_that_leaves_the_folder_is_refused_with_the_mend(tmp_path, name, root):
    (tmp_path / "set").mkdir()
    path = write_csv(tmp_path / "set" / "t.csv", ["image", "caption"], [[name, "x"]])
    with pytest.raises(InvalidArgumentError, match=r"row 1: .*leaves .*root="):
        open_dataset(path, root=root and tmp_path / "set")


def test_absolute_paths_are_read_wherever_they_lie(tmp_path, names):
    """By Pillow, by the core and across a link of the absolute path, beside relative paths."""
    (tmp_path / "set").mkdir()
    write_pictures(tmp_path / "set", [2])
    (tmp_path / "linked").symlink_to(tmp_path)
    (tmp_path / "set" / "out.png").symlink_to(tmp_path / names[0])
    images = [tmp_path / names[0], tmp_path / "linked" / names[1], "00002.png", "out.png"]
    rows = [[str(name), caption(number)] for number, name in enumerate(images)]
    data = open_dataset(write_csv(tmp_path / "set" / "t.csv", ["image", "caption"], rows))
    for number in range(3):
        assert_row_is(data, number, number)
    assert reason_of(data.image, 3) == "outside_root"
    assert data.image_path(1) == str(images[1])
    transform = ImageTransform(size=8, crop="squash")
    by_core = TransformedPictures(data, transform)
    assert reason_of(by_core.get, 3) == "outside_root"
    for number in range(3):
        torch.testing.assert_close(by_core.get(number), transform.from_image(data.image(number)))


def test_root_says_where_paths_start_and_allows_absolute_ones_inside(tmp_path, names):
    (tmp_path / "tables").mkdir()
    rows = [[names[0], caption(0)], [str(tmp_path / names[1]), caption(1)]]
    path = write_csv(tmp_path / "tables" / "t.csv", ["image", "caption"], rows)
    data = open_dataset(path, root=tmp_path)
    assert_row_is(data, 0, 0)
    assert_row_is(data, 1, 1)


def test_links_are_followed_inside_the_root_only_unless_trusted(tmp_path):
    write_pictures(tmp_path / "outside", [0])
    write_pictures(tmp_path / "set" / "real", [1])
    (tmp_path / "set" / "out.png").symlink_to(tmp_path / "outside" / "00000.png")
    (tmp_path / "set" / "folder").symlink_to(tmp_path / "outside")
    (tmp_path / "set" / "in.png").symlink_to("real/00001.png")
    rows = [["out.png", "x"], ["folder/00000.png", "y"], ["in.png", "z"]]
    path = write_csv(tmp_path / "set" / "t.csv", ["image", "caption"], rows)
    data = open_dataset(path)
    assert reason_of(data.image, 0) == reason_of(data.image, 1) == "outside_root"
    np.testing.assert_array_equal(pixels(data.image(2)), pixels(picture(1)))
    trusting = open_dataset(path, follow_links=True)
    np.testing.assert_array_equal(pixels(trusting.image(0)), pixels(picture(0)))


def test_json_has_the_columns_of_all_its_records(tmp_path, names):
    records = [{"image": names[0], "title": "a title"}, {"image": names[1], "caption": caption(1)}]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    (tmp_path / "t.json").write_text(json.dumps(records))
    for name in ("t.jsonl", "t.json"):
        columns, rows = read_rows(tmp_path / name, Counter())
        assert columns == ["image", "title", "caption"]
        assert list(rows) == [[names[0], "a title", None], [names[1], None, caption(1)]]


def test_a_pipe_or_a_folder_in_place_of_a_picture_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    rows = [["pipe.png", "x"], ["folder.png", "y"], ["nul\0.png", "z"]]
    (tmp_path / "t.jsonl").write_text(
        "".join(json.dumps({"image": a, "caption": b}) + "\n" for a, b in rows)
    )
    data = open_dataset(tmp_path / "t.jsonl")
    for row in range(3):
        assert reason_of(data.image, row) == "io"


# Parquet


def test_parquet_with_paths_has_them_as_keys(tmp_path, names):
    path = write_parquet(
        tmp_path / "t.parquet", image_path=names, text=[caption(i) for i in range(ROWS)]
    )
    data = open_dataset(path)
    assert data.keys == names
    assert_row_is(data, 5, 5)


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_with_bytes_is_read_by_row_group_with_row_numbers_as_keys(tmp_path, nested):
    bodies = [png(i) for i in range(ROWS)]
    column = [{"bytes": body, "path": "x.png"} for body in bodies] if nested else bodies
    texts = [caption(i) for i in range(ROWS)]
    path = write_parquet(tmp_path / "t.parquet", image=column, caption=texts)
    data = open_dataset(path)
    assert data.keys == [f"{i:09d}" for i in range(ROWS)]
    for row in (5, 0, 3, 2, 1, 4):
        assert_row_is(data, row, row)


def test_several_parquet_files_and_their_folder_are_one_data_set(tmp_path):
    for part in range(2):
        write_parquet(
            tmp_path / f"part-{part}.parquet",
            image=[png(i) for i in range(3 * part, 3 * part + 3)],
            caption=[caption(i) for i in range(3 * part, 3 * part + 3)],
            label=["a", "b", None],
            id=[10 * part + i for i in range(3)],
        )
    data = open_dataset(tmp_path, key_column="id")
    assert data.keys == ["0", "1", "2", "10", "11", "12"]
    assert_row_is(data, 4, 4)
    assert [data.label(i) for i in (0, 4, 5)] == ["a", "b", None]


def test_null_cells_of_parquet_stay_rows(tmp_path):
    path = write_parquet(
        tmp_path / "t.parquet", image=[png(0), None, png(2)], caption=[None, "x", "y"]
    )
    data = open_dataset(path)
    assert reason_of(data.__getitem__, 0) == "missing_caption"
    assert reason_of(data.__getitem__, 1) == "missing_image"
    assert data[2]["text"] == "y"
    assert data.counts() == {"rows": 3, "missing_image": 1, "missing_caption": 1}


def test_of_a_list_of_captions_the_first_counts(tmp_path, names):
    captions = [["", f"first {i}", "second"] for i in range(ROWS)]
    path = write_parquet(tmp_path / "t.parquet", image=names, captions=captions)
    assert open_dataset(path).caption(3) == "first 3"


def test_a_picture_column_of_another_type_is_refused(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", image=[1, 2], caption=["x", "y"])
    with pytest.raises(InvalidArgumentError, match=r"'image' is of type int64"):
        open_dataset(path)


def test_parquet_without_columns_is_told_as_one_that_lacks_them(tmp_path):
    path = write_parquet(tmp_path / "t.parquet")
    with pytest.raises(InvalidArgumentError, match=r"t\.parquet"):
        open_dataset(path)


def test_damaged_parquet_is_told_on_opening_or_when_read(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", image=[png(i) for i in range(4)],
                         caption=[caption(i) for i in range(4)])  # fmt: skip
    whole = path.read_bytes()
    for length in (0, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptError, match=r"t\.parquet"):
            open_dataset(path)


def test_parquet_that_was_changed_after_opening_is_a_mismatch(tmp_path):
    columns = {"image": [png(i) for i in range(4)], "caption": [caption(i) for i in range(4)]}
    path = write_parquet(tmp_path / "t.parquet", **columns)
    data = open_dataset(path)
    write_parquet(path, row_group_size=3, **columns)
    with pytest.raises(MismatchError, match="was changed"):
        data.image(0)
