"""Columns of text as the data of a sampler or a plan."""

from __future__ import annotations

import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError
from support.loader_samples import random_pools, table_of

ROWS, K = 203, 7
TABLE = table_of(random_pools(ROWS, K, seed=8), K)


def test_no_text_of_columns_is_twice_in_a_batch():
    columns = {
        "query": [f"query {row % 70}" for row in range(ROWS)],
        "answer": [f"answer {row // 2}" for row in range(ROWS)],
    }
    twice = 0
    for unique in ("none", "caption"):
        for rows in helip.BatchSampler(TABLE, 24, data=columns, unique=unique):
            for texts in columns.values():
                twice += len(rows) - len({texts[row] for row in rows})
        assert (twice > 0) is (unique == "none")
        twice = 0


def test_columns_that_are_none_of_the_table_are_refused(tmp_path):
    plan = helip.plan_batches(TABLE, out=tmp_path / "plan", batch_size=24, seed=3, progress=False)
    texts = [str(row) for row in range(ROWS)]
    for source in (TABLE, plan):
        with pytest.raises(MismatchError, match=r"numbers of rows differ \(203 rows .* there, 202"):
            helip.BatchSampler(source, 24, data={"query": texts[1:]}, seed=3)
        with pytest.raises(InvalidArgumentError, match=r"'a': 203, 'b': 202\} rows; give"):
            helip.BatchSampler(source, 24, data={"a": texts, "b": texts[1:]}, seed=3)
        with pytest.raises(InvalidArgumentError, match=r"row 1 of the column 'a' is int, must be"):
            helip.BatchSampler(source, 24, data={"a": ["0", 1]}, seed=3)
