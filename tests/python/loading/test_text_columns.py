"""Columns of text as the data of a sampler or a plan."""

from __future__ import annotations

from collections import OrderedDict

import pytest

import helip
from helip.common.errors import InvalidArgumentError, MismatchError
from support.loader_samples import random_pools, table_of

ROWS, K = 203, 7
TABLE = table_of(random_pools(ROWS, K, seed=8), K)


COLUMNS = {
    "query": [f"query {row % 70}" for row in range(ROWS)],
    "answer": [f"answer {row // 2}" for row in range(ROWS)],
}


def twice(batches) -> int:
    """How many texts are in a batch that has them already."""
    return sum(
        len(rows) - len({texts[row] for row in rows})
        for rows in batches
        for texts in COLUMNS.values()
    )


@pytest.mark.parametrize("mapping", [dict, OrderedDict])
def test_no_text_is_twice_in_a_batch_and_what_is_left_out_is_said(mapping, tmp_path, caplog):
    data = mapping(COLUMNS)
    assert twice(helip.BatchSampler(TABLE, 24, data=data)) > 0
    assert not caplog.records
    sampler = helip.BatchSampler(TABLE, 24, data=data, unique="caption")
    plan = helip.plan_batches(
        TABLE, out=tmp_path / "plan", batch_size=24, epochs=2, data=data, unique="caption",
        progress=False,
    )  # fmt: skip
    drawn = list(sampler)
    assert twice(drawn) == 0 and drawn == [batch.rows.tolist() for batch in plan.batches(0)]
    left_out = ROWS - sum(map(len, drawn))
    said = f"{left_out} rows of epoch 0 are left out"
    assert [said in record.getMessage() for record in caplog.records] == [True, False, True]
    again = helip.BatchSampler(TABLE, 24, data=data, unique="caption")
    next(iter(again))
    again.set_epoch(0)  # counts anew
    assert list(again) == drawn and said in caplog.records[-1].getMessage()
    assert plan.counts()["equal_targets"] == 2 * ROWS - plan.counts()["rows"] > left_out > 0
    helip.BatchPlan.open(plan.path, data=data)


def test_a_plan_and_a_state_know_which_texts_were_equal(tmp_path):
    plan = helip.plan_batches(
        TABLE, out=tmp_path / "plan", batch_size=24, data=COLUMNS, unique="caption", progress=False
    )
    other = {"query": [f"query {row}" for row in range(ROWS)]}
    with pytest.raises(MismatchError, match="made of other texts than those of data"):
        helip.BatchSampler(plan, data=other)
    with pytest.raises(MismatchError, match="made of other texts than those of data"):
        helip.BatchPlan.open(plan.path, data=other)
    first, second, third = (
        helip.BatchSampler(TABLE, 24, data=data, unique=unique)
        for data, unique in ((COLUMNS, "caption"), (other, "caption"), (other, "none"))
    )
    for here, there in ((first, second), (first, third), (third, first)):
        with pytest.raises(MismatchError, match="texts"):
            here.load_state_dict(there.state_dict())


def test_columns_that_are_none_of_the_table_are_refused(tmp_path):
    plan = helip.plan_batches(TABLE, out=tmp_path / "plan", batch_size=24, seed=3, progress=False)
    texts = [str(row) for row in range(ROWS)]
    for source in (TABLE, plan):
        with pytest.raises(MismatchError, match=r"has 203 rows, and the columns of data 202; give"):
            helip.BatchSampler(source, 24, data={"query": texts[1:]}, seed=3)
        with pytest.raises(InvalidArgumentError, match=r"'a': 203, 'b': 202\} rows; give"):
            helip.BatchSampler(source, 24, data={"a": texts, "b": texts[1:]}, seed=3)
        with pytest.raises(InvalidArgumentError, match=r"row 1 of the column 'a' of data is int"):
            helip.BatchSampler(source, 24, data={"a": ["0", 1]}, seed=3)
        for column, kind in ((None, "NoneType"), ("x" * ROWS, "str"), ({*texts}, "set")):
            with pytest.raises(InvalidArgumentError, match=f"column 'a' of data is {kind}; give"):
                helip.BatchSampler(source, 24, data={"a": column}, seed=3)


def test_what_brings_no_captions_keeps_no_equal_ones_apart():
    table = helip.HardPairs.from_arrays(TABLE.ids, TABLE.scores, TABLE.counts)  # of any data
    records = [{"query": "x", "answer": "y"}] * ROWS
    with pytest.raises(InvalidArgumentError, match=r"no row of the data has a caption.*dataset\["):
        helip.BatchSampler(table, 24, data=records, unique="caption")
    datasets = pytest.importorskip("datasets")
    whole = datasets.Dataset.from_dict(COLUMNS)
    with pytest.raises(InvalidArgumentError, match=r"Of a data set without pictures .*dataset\["):
        helip.BatchSampler(table, 24, data=whole)
    helip.BatchSampler(table, 24, data=whole[:], unique="caption")
