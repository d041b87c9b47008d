"""A table in blocks, and what is left of pools."""

from __future__ import annotations

import numpy as np
import pytest

from helip import HardPairs
from helip.common.errors import InvalidArgumentError
from helip.pairs import Pools
from helip.pairs.blocks import pool_blocks, row_blocks
from support.pair_samples import random_table


@pytest.mark.parametrize("rows", [1, 7, 1000, None])
def test_blocks_hold_the_table_in_order(rows: int | None) -> None:
    pairs = random_table(5, 1)
    found = list(pairs.blocks(rows))
    sizes = [len(pools.ids) for _, pools in found]
    assert [first for first, _ in found] == [sum(sizes[:at]) for at in range(len(sizes))]
    assert max(sizes) == min(rows or len(pairs), len(pairs))
    for name in Pools._fields:
        parts = [getattr(pools, name) for _, pools in found]
        np.testing.assert_array_equal(np.concatenate(parts), getattr(pairs, name))
    assert {pools.ids.dtype for _, pools in found} == {np.dtype(np.int64)}


def test_blocks_of_the_core_are_those_of_the_table() -> None:
    pairs = random_table(5, 2)
    for (first, one), (other, two) in zip(
        pairs.blocks(7), pool_blocks(pairs._core, 7), strict=True
    ):
        assert first == other
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_empty_table_has_no_blocks() -> None:
    empty = HardPairs.from_arrays(np.zeros((0, 3), np.int32), np.zeros((0, 3), np.float32))
    assert list(empty.blocks()) == []


def test_a_block_has_a_row_at_least() -> None:
    with pytest.raises(InvalidArgumentError, match="rows is 0"):
        random_table(5, 1).blocks(0)


def test_blocks_of_rows_are_bounded_by_their_places() -> None:
    assert list(row_blocks(1500, 1024)) == [slice(0, 1024), slice(1024, 1500)]
    assert list(row_blocks(2, 1 << 30)) == [slice(0, 1), slice(1, 2)]


POOLS = Pools(
    np.array([[4, 7, 2], [5, -1, -1]]),
    np.array([[0.9, 0.5, 0.1], [0.3, 0, 0]], dtype=np.float32),
    np.array([3, 1], dtype=np.int32),
)


def test_pairs_that_are_taken_out_leave_the_others_in_their_order() -> None:
    left = POOLS.without(np.array([[True, False, False], [True, False, False]]))
    assert left.ids.tolist() == [[7, 2, -1], [-1, -1, -1]]
    assert left.scores.tolist() == [[0.5, np.float32(0.1), 0], [0, 0, 0]]
    assert left.counts.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("k", "skip", "ids", "counts"),
    [
        (2, 0, [[4, 7], [5, -1]], [2, 1]),
        (2, 1, [[7, 2], [-1, -1]], [2, 0]),
        (3, 2, [[2, -1, -1], [-1, -1, -1]], [1, 0]),
        (4, 0, [[4, 7, 2, -1], [5, -1, -1, -1]], [3, 1]),
    ],
)
def test_the_best_of_pools(k: int, skip: int, ids: list[list[int]], counts: list[int]) -> None:
    best = POOLS.best(k, skip=skip)
    assert (best.ids.tolist(), best.counts.tolist()) == (ids, counts)
    assert (best.scores != 0).sum(axis=1).tolist() == counts
    assert best.scores.shape == (2, k)
