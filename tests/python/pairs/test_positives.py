"""Positives of queries in every form that people have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, StorageError
from helip.pairs.positives import positives_of

LISTS = [[3], [0, 2], [1]]
PADDED = np.array([[3, -1], [0, 2], [1, -1]])


def store_of(path: Path, prefix: str, rows: int) -> helip.EmbeddingStore:
    matrix = np.eye(rows, 4, dtype=np.float32)
    with helip.EmbeddingStore.create(path, image_dim=4, text_dim=4) as writer:
        writer.append([f"{prefix}{row}" for row in range(rows)], matrix, matrix)
    return helip.EmbeddingStore.open(path)


@pytest.mark.parametrize(
    "given", [LISTS, PADDED, PADDED.astype(np.int32), [np.array(rows) for rows in LISTS]]
)
def test_rows_by_query_mean_the_same_in_every_form(given: Any) -> None:
    found = positives_of(given, 3)
    assert [found.of_query(query).tolist() for query in range(3)] == LISTS


def test_one_row_a_query_is_an_array_or_a_list() -> None:
    for given in (np.array([2, 0]), [2, 0]):
        assert positives_of(given, 2).rows.tolist() == [2, 0]


def test_keys_are_found_in_the_stores(tmp_path: Path) -> None:
    stores = {
        "query_store": store_of(tmp_path / "q", "q", 3),
        "corpus_store": store_of(tmp_path / "c", "c", 4),
    }
    named = {"q0": "c3", "q1": ["c0", "c2"], "q2": {"c1": 2, "c0": 0}, "other": "c9"}
    found = positives_of(named, 3, **stores)
    assert [found.of_query(query).tolist() for query in range(3)] == LISTS

    file = tmp_path / "qrels.tsv"
    file.write_text(
        "query-id\tcorpus-id\tscore\nq0\tc3\t1\nq1\tc0\t1\nq1\tc2\t1\nq2\tc1\t2\nq2\tc0\t0\n"
    )
    assert positives_of(file, 3, **stores).rows.tolist() == [3, 0, 2, 1]
    (tmp_path / "qrels.csv").write_text("query-id,corpus-id\nq0,c1\nq1,c1\nq2,c1\n")
    assert positives_of(tmp_path / "qrels.csv", 3, **stores).rows.tolist() == [1, 1, 1]

    import pyarrow.parquet

    table = pyarrow.table({"query-id": ["q0", "q1", "q2"], "corpus-id": ["c1", "c2", "c0"]})
    pyarrow.parquet.write_table(table, tmp_path / "qrels.parquet")
    assert positives_of(tmp_path / "qrels.parquet", 3, **stores).rows.tolist() == [1, 2, 0]

    with pytest.raises(InvalidArgumentError, match="'q1' has the positive 'c9', and the corpus"):
        positives_of({"q0": "c1", "q1": "c9", "q2": "c0"}, 3, **stores)
    with pytest.raises(InvalidArgumentError, match="query 'q2' has no positive"):
        positives_of({"q0": "c1", "q1": "c0", "q2": {"c1": 0}}, 3, **stores)


def test_what_are_no_positives_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("anchor,positive\na,b\n")
    (tmp_path / "words.csv").write_text("query-id,corpus-id,score\na,b,high\n")
    for given, said in (
        ([[1], [2]], "positives are of 2 queries, and there are 3"),
        (np.zeros((3, 1, 1), int), r"an array of shape \(3, 1, 1\) and dtype int64"),
        (np.zeros(3), "dtype float64"),
        (7, "of type int, and no list of row numbers"),
        ([["a"], [1], [2]], "no list of row numbers for each query"),
        ({"q": "c"}, "a mapping of keys, which stores have and arrays have not"),
        ("positives.json", "a file must be .tsv, .csv or .parquet"),
        (tmp_path / "other.csv", "row 1 of .* has the columns anchor, positive"),
        (tmp_path / "words.csv", "row 1 of .* could not convert string to float: 'high'"),
    ):
        with pytest.raises(InvalidArgumentError, match=said):
            positives_of(given, 3)
    with pytest.raises(StorageError, match=r"absent\.tsv"):
        positives_of(tmp_path / "absent.tsv", 3)
