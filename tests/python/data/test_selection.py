"""``subset`` and ``limit``: which rows stay, what is counted, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

import helip
from helip.common.errors import InvalidArgumentError, StorageError
from helip.store.data_identity import fingerprint_differences
from support.data_samples import assert_row_is, write_shards

ROWS = 20


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "shards")


def key(number):
    return f"{number:05d}"


def test_a_limit_keeps_the_first_rows_and_counts_the_rest(shards):
    data = helip.open_dataset(shards, limit=7)
    assert list(data.keys) == [key(i) for i in range(7)]
    assert data.counts() == {"rows": 7, "source_rows": ROWS, "left_out_limit": ROWS - 7}
    assert_row_is(data, 6, 6)
    assert "7 rows of TarDataset(20 rows" in repr(data)
    copy = pickle.loads(pickle.dumps(data))  # as worker processes get it
    assert copy.counts() == data.counts()
    assert_row_is(copy, 6, 6)


@pytest.mark.parametrize("form", ["txt", "npy of keys", "npy mask", "npy rows", "mask", "list"])
def test_every_form_of_a_subset_keeps_the_same_rows_in_the_order_of_the_data(
    form, shards, tmp_path
):
    numbers = [11, 3, 4, 19]
    mask = np.isin(np.arange(ROWS), numbers)
    path = tmp_path / ("subset.npy" if "npy" in form else "subset.txt")
    if form == "txt":
        lines = "\r\n".join([key(n) for n in numbers] + [key(3), "", ""])
        path.write_text("\ufeff" + lines, newline="")
    elif form.startswith("npy"):
        arrays = {"keys": np.array([key(n) for n in numbers]), "mask": mask, "rows": numbers}
        np.save(path, arrays[form.split()[-1]])
    given = {"mask": mask, "list": [key(n) for n in numbers]}.get(form, path)
    data = helip.open_dataset(shards, subset=given)
    assert list(data.keys) == [key(n) for n in (3, 4, 11, 19)]
    assert data.counts() == {"rows": 4, "source_rows": ROWS, "left_out_subset": 16}
    assert_row_is(data, 2, 11)


@pytest.mark.parametrize("form", ["objects", "pandas", "pyarrow"])
def test_keys_are_taken_as_other_libraries_hold_them(form, tmp_path):
    names = ["a", "tráin", "z"]
    for name in names:
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(name)
    data = helip.open_dataset(tmp_path)
    keys = list(data.keys)[1:]
    if form == "pandas":
        given = pytest.importorskip("pandas").Series(keys, index=[7, 9])
    elif form == "pyarrow":
        given = pytest.importorskip("pyarrow").array(keys)
    else:
        given = np.array(keys, dtype=object)
    assert list(helip.open_dataset(data, subset=given).keys) == keys


@pytest.mark.parametrize("form", ["objects", "rows", "pandas", "pyarrow"])
def test_a_mask_and_rows_are_taken_as_other_libraries_hold_them(form, shards):
    given = np.array([5, 2] if form == "rows" else np.isin(np.arange(ROWS), [2, 5]), dtype=object)
    if form == "pandas":
        given = pytest.importorskip("pandas").Series(given)
    elif form == "pyarrow":
        given = pytest.importorskip("pyarrow").array(given)
    assert list(helip.open_dataset(shards, subset=given).keys) == [key(2), key(5)]


def test_the_limit_is_of_what_the_subset_leaves(shards):
    data = helip.open_dataset(shards, subset=np.arange(ROWS) >= 10, limit=3)
    assert list(data.keys) == [key(n) for n in (10, 11, 12)]
    assert data.counts()["left_out_subset"] == 10
    assert data.counts()["left_out_limit"] == 7


def test_where_nothing_is_left_out_the_data_are_the_same(shards):
    data = helip.open_dataset(shards)
    same = helip.open_dataset(data, limit=ROWS, subset=np.ones(ROWS, dtype=bool))
    assert same is data


def test_an_open_data_set_is_narrowed_and_its_other_options_stay_refused(shards):
    data = helip.open_dataset(shards)
    assert list(helip.open_dataset(data, limit=2).keys) == [key(0), key(1)]
    with pytest.raises(InvalidArgumentError, match=r"root=.* does not apply to an open data set"):
        helip.open_dataset(data, root="there")


def test_the_fingerprint_is_that_of_the_rows_alone(shards, tmp_path):
    whole = helip.open_dataset(shards)
    first = helip.open_dataset(shards, limit=10)
    alone = helip.open_dataset([shards / "0.tar", shards / "1.tar"])
    assert not fingerprint_differences(first.fingerprint, alone.fingerprint)
    assert fingerprint_differences(first.fingerprint, whole.fingerprint)


def test_keys_that_are_not_there_are_counted_and_three_are_named(shards, tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text("\n".join([key(1), *(f"lost{i}" for i in range(5))]))
    words = "5 of its 6 keys are not in the data: 'lost0', 'lost1', 'lost2', …; .*Remove those"
    with pytest.raises(InvalidArgumentError, match=words):
        helip.open_dataset(shards, subset=path)


@pytest.mark.parametrize(
    ("subset", "words"),
    [
        (np.zeros(ROWS, dtype=bool), "names none of the 20 rows; name one at least"),
        ([], "names none of the 20 rows"),
        (np.ones(5, dtype=bool), "a mask of 5 bools, and the data have 20 rows"),
        ([1, 20, -1, 30, 31], r"4 of its 5 rows are outside of 0 .. 19: 20, -1, 30, …; remove"),
        (np.zeros((2, 2), dtype=int), r"holds int64 \[2, 2\]"),
        (np.arange(ROWS) % 2, "int64 0 and 1, one a row; a mask must be bool: mask.astype"),
        (np.zeros(ROWS, dtype=np.uint8), "a mask must be bool"),
        ([3, 5, 3], "names row 3 more than once; name each row once"),
        (np.array([b"00001", b"\xff"]), r"holds \|S5 \[2\]; it must hold one bool a row"),
        (np.array(["00001", None], dtype=object), r"holds object \[2\]"),
        ([0.5], r"holds float64 \[1\]"),
        (3, "subset is 3; it must be a path, keys, row numbers or one bool a row"),
        ("", "subset is ''"),
    ],
)
def test_a_subset_that_does_not_fit_is_refused_with_the_mend(subset, words, shards):
    with pytest.raises(InvalidArgumentError, match=words):
        helip.open_dataset(shards, subset=subset)


def test_a_subset_file_that_cannot_be_read_is_refused(shards, tmp_path):
    with pytest.raises(StorageError, match=r"none\.txt"):
        helip.open_dataset(shards, subset=tmp_path / "none.txt")
    (tmp_path / "keys.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidArgumentError, match="not UTF-8"):
        helip.open_dataset(shards, subset=tmp_path / "keys.txt")
    (tmp_path / "rows.npy").write_bytes(b"nothing")
    with pytest.raises(InvalidArgumentError, match=r"no \.npy file"):
        helip.open_dataset(shards, subset=tmp_path / "rows.npy")
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InvalidArgumentError, match=r"no \.npy file"):
        helip.open_dataset(shards, subset=tmp_path / "objects.npy")


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused_with_the_bound(limit, shards):
    with pytest.raises(InvalidArgumentError, match=f"limit is {limit}, must be at least 1"):
        helip.open_dataset(shards, limit=limit)
