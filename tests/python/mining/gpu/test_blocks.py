"""Which blocks meet which."""

from __future__ import annotations

from collections import Counter

import pytest

from helip.mining.gpu.blocks import BlockPair, Blocks, units_of_band


@pytest.mark.parametrize("group", [1, 2, 3, 10])
@pytest.mark.parametrize("band", [range(0, 7), range(0, 2), range(2, 5), range(6, 7)])
def test_every_unordered_pair_meets_once_for_each_target_in_the_band(band, group):
    served = Counter()
    for unit in units_of_band(band, 7, group):
        touched = {pair.rows for pair in unit} | {pair.columns for pair in unit}
        assert len(touched) <= 2 * group
        for pair in unit:
            served[pair.rows, pair.columns] += 1
            if pair.symmetric and pair.rows != pair.columns:
                served[pair.columns, pair.rows] += 1
    assert served == {(row, column): 1 for row in band for column in range(7)}


def test_pairs_of_rows_are_counted_once():
    blocks = Blocks(rows=25, size=10)
    assert [blocks.span(b) for b in range(len(blocks))] == [(0, 10), (10, 20), (20, 25)]
    assert blocks.pairs(BlockPair(0, 0, True)) == 45
    assert blocks.pairs(BlockPair(1, 2, True)) == 50
