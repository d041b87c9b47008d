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


def test_columns_of_lists_and_files_of_rows_are_positives(tmp_path: Path) -> None:
    import pandas
    import pyarrow

    np.save(tmp_path / "p.npy", PADDED)
    for given in (
        pandas.Series(LISTS), pyarrow.array(LISTS), pyarrow.chunked_array([LISTS]),
        np.array([[3], [0, 2], [1]], dtype=object), [[3, -1], [0, 2], [-1, 1]],
        tmp_path / "p.npy",
    ):  # fmt: skip
        found = positives_of(given, 3)
        assert [found.of_query(query).tolist() for query in range(3)] == LISTS
    assert positives_of(pandas.Series([2, 0]), 2).rows.tolist() == [2, 0]
    assert positives_of([[2, 0, 2]], 1).digest == positives_of([[0, 2]], 1).digest
    assert positives_of([[0], [2]], 2).digest != positives_of([[0, 2]], 1).digest


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

    # A score of 0 is no positive, whatever its type; quotes and marks of an editor are plain text.
    judged = pyarrow.table(
        {"query-id": ["q0", "q0", "q1", "q2"], "corpus-id": ["c1", "c3", "c2", "c0"],
         "score": [1, 0, 1, 2]}
    )  # fmt: skip
    pyarrow.parquet.write_table(judged, tmp_path / "judged.parquet")
    assert positives_of(tmp_path / "judged.parquet", 3, **stores).rows.tolist() == [1, 2, 0]
    (tmp_path / "marked.tsv").write_text(
        '\ufeffquery-id\tcorpus-id\n"other\tc1\nq0\tc1\nq1\tc1\nq2\tc0\n', encoding="utf-8"
    )
    assert positives_of(tmp_path / "marked.tsv", 3, **stores).rows.tolist() == [1, 1, 0]
    for named, said in (
        ({"q0": 5, "q1": "c0", "q2": "c0"}, "query 'q0' has the positives 5; give a key"),
        ({"q0": {"c1": "x"}, "q1": "c0", "q2": "c0"}, "query 'q0' has the score 'x'"),
        ({"q0": {"c1": float("nan")}}, "query 'q0' has the score nan"),
    ):
        with pytest.raises(InvalidArgumentError, match=said):
            positives_of(named, 3, **stores)

    with pytest.raises(InvalidArgumentError, match="'q1' has the positive 'c9', and the corpus"):
        positives_of({"q0": "c1", "q1": "c9", "q2": "c0"}, 3, **stores)
    with pytest.raises(InvalidArgumentError, match="query 'q2' has no positive"):
        positives_of({"q0": "c1", "q1": "c0", "q2": {"c1": 0}}, 3, **stores)


def test_what_are_no_positives_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("anchor,positive\na,b\n")
    (tmp_path / "words.csv").write_text("query-id,corpus-id,score\na,b,high\n")
    (tmp_path / "none.parquet").write_text("no")
    (tmp_path / "latin.tsv").write_bytes(b"query-id\tcorpus-id\nq\xe9\tc\n")
    (tmp_path / "empty.tsv").write_text("query-id\tcorpus-id\n")
    for given, said in (
        ([[1], [2]], "positives are of 2 queries, and there are 3"),
        (np.zeros((3, 1, 1), int), r"an array of shape \(3, 1, 1\) and dtype int64"),
        (np.zeros(3), "dtype float64"),
        (7, "of type int, and no list of row numbers"),
        ([["a"], [1], [2]], r"positives of query 0 are \['a'\], which are no list of row numbers"),
        ([[1.7], [2.2], [0.9]], r"positives of query 0 are \[1\.7\]"),
        ([True, False, True], "positives of query 0 are True"),
        (np.array([2**64 - 1, 0, 0], np.uint64), "no corpus is so large"),
        ({"q": "c"}, "by keys, which stores have and arrays have not"),
        ("positives.json", "a file must be .npy, .tsv, .csv or .parquet"),
        ("s3://bucket/positives.tsv", "is read from a disk: copy it here"),
        (tmp_path / "none.parquet", "is no .parquet file that can be read"),
        (tmp_path / "latin.tsv", "is no .tsv file that can be read"),
        (tmp_path / "empty.tsv", "has no row; give the positives of each query"),
        (tmp_path / "other.csv", "row 1 of .* has the columns anchor, positive, and not both"),
        (tmp_path / "words.csv", "row 1 of .* has the score 'high'; give a number, or none"),
    ):
        with pytest.raises(InvalidArgumentError, match=said):
            positives_of(given, 3)
    with pytest.raises(StorageError, match=r"absent\.tsv"):
        positives_of(tmp_path / "absent.tsv", 3)
