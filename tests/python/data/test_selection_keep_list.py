"""Keep lists as ``subset``: which rows stay, what is counted, and what is refused."""

from __future__ import annotations

import pytest

import helip
from helip.common.errors import InvalidArgumentError
from support.data_samples import write_shards

ROWS = 20


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "shards")


def lines(gone=(), reason="mismatched", keys=None):
    keys = [f"{i:05d}" for i in range(ROWS)] if keys is None else keys
    head = ["key,keep,reason"]
    return "\n".join(head + [f"{key},0,{reason}" if key in gone else f"{key},1," for key in keys])


def opened(shards, tmp_path, text):
    (tmp_path / "keep.csv").write_text(text)
    return helip.open_dataset(shards, subset=tmp_path / "keep.csv", progress=False)


def test_rows_that_go_are_counted_by_reason(shards, tmp_path):
    text = lines(["00003", "00007"]).replace("00007,0,mismatched", "00007,false,")
    data = opened(shards, tmp_path, text)
    assert len(data) == ROWS - 2 and "00003" not in list(data.keys)
    assert data.counts() == {
        "rows": ROWS - 2, "source_rows": ROWS, "left_out_subset": 2,
        "left_out_subset_mismatched": 1, "left_out_subset_without_reason": 1,
    }  # fmt: skip


def test_the_order_of_the_list_does_not_matter(shards, tmp_path):
    keys = [f"{i:05d}" for i in reversed(range(ROWS))]
    data = opened(shards, tmp_path, lines(["00000"], keys=keys))
    assert list(data.keys) == [f"{i:05d}" for i in range(1, ROWS)]


def test_a_csv_without_the_columns_is_a_file_of_keys(shards, tmp_path):
    assert list(opened(shards, tmp_path, "00004\n00002\n").keys) == ["00002", "00004"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (lines(keys=[f"{i:05d}" for i in range(ROWS + 2)]),
         "2 of its 22 keys are not in the data: '00020', '00021'; open the data that were cur"),
        (lines(keys=[f"{i:05d}" for i in range(ROWS - 1)]),
         "says nothing of 1 of the 20 rows: '00019'"),
        ("key,keep\n", "a keep list without rows"),
        (lines([f"{i:05d}" for i in range(ROWS)]), "names none of the 20 rows"),
        ("key,keep\n00000,maybe\n", "row 1 has keep 'maybe', must be 1 or 0"),
        ("key,keep\n00000,1\n00000,0\n", "names the key '00000' more than once"),
        ("key,keep\n00000\n", "line 2 has 1 fields, the header 2"),
    ],
    ids=["unknown", "unsaid", "empty", "none stays", "no bool", "twice", "ragged"],
)  # fmt: skip
def test_a_list_that_does_not_fit_is_refused(shards, tmp_path, text, words):
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        opened(shards, tmp_path, text)
    assert "keep.csv" in str(caught.value)


def test_a_parquet_file_is_read_or_refused_by_its_columns(shards, tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "keep.parquet"
    keys = [f"{i:05d}" for i in range(ROWS)]
    parquet.write_table(pa.table({"key": keys, "keep": [i > 4 for i in range(ROWS)]}), path)
    data = helip.open_dataset(shards, subset=path, progress=False)
    assert list(data.keys) == keys[5:]
    parquet.write_table(pa.table({"url": keys}), path)
    with pytest.raises(InvalidArgumentError, match="has no column 'key'; its columns are url"):
        helip.open_dataset(shards, subset=path, progress=False)
    path.write_bytes(b"no table")
    with pytest.raises(InvalidArgumentError, match="is no Parquet file"):
        helip.open_dataset(shards, subset=path, progress=False)
