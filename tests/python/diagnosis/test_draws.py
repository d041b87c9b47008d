"""Batches of communities are those that training gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import helip
from helip.diagnosis.draws import planned_batches
from helip.pairs.hard_pairs import HardPairs
from support.diagnosis_samples import ROWS, table, write_pictures


def test_they_are_batches_of_a_loader(tmp_path: Path) -> None:
    data = helip.open_dataset(write_pictures(tmp_path), progress=False)
    pairs = table()
    loader = helip.HardPairLoader(
        data, pairs, batch_size=16, strategy="communities", community_rows=8, rank_max=20, seed=5,
        workers=0,
    )  # fmt: skip
    whole = [batch.tolist() for batch in loader.planned_rows(0)]
    found = planned_batches(pairs, batch_size=16, window=20, count=2, seed=5)
    assert [batch.tolist() for batch in found] == [whole[0], whole[-1]]
    more = planned_batches(pairs, batch_size=16, window=20, count=50, seed=5)
    assert [batch.tolist() for batch in more] == whole
    assert sorted(np.concatenate(more).tolist()) == list(range(ROWS))


def test_a_table_without_hard_pairs_gives_none() -> None:
    empty = np.full((20, 4), -1, dtype=np.int32)
    assert planned_batches(HardPairs.from_arrays(empty, np.zeros((20, 4), dtype=np.float32))) == []
