"""The rows of batches that nobody has read yet."""

from __future__ import annotations

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError
from helip.loading.loader import HardPairLoader
from support.loader_samples import drawing
from support.train_samples import Colours, table


def make(pairs=None, **options) -> HardPairLoader:
    data = Colours()
    options = {"batch_size": 8, "seed": 5, "transform": np.asarray, **options}
    return HardPairLoader(data, table(data) if pairs is None else pairs, **drawing(options))


def rows_of(batches) -> list[list[int]]:
    return [batch["index"].tolist() for batch in batches]


@pytest.mark.parametrize("options", [{"short": "random"}, {"strategy": "shared"}, {"workers": 0}])
def test_they_are_those_of_an_iteration_and_move_nothing(options):
    loader = make(**options)
    batches = iter(loader)
    first = next(batches)["index"].tolist()
    planned = {epoch: [rows.tolist() for rows in loader.planned_rows(epoch)] for epoch in (0, 3)}
    assert planned[0] == [first, *rows_of(batches)]
    loader.set_epoch(3)
    assert planned[3] == rows_of(loader) != planned[0]


def test_of_a_rank_they_are_its_own():
    ranks = [make(rank=rank, world_size=2) for rank in range(2)]
    planned = [[rows.tolist() for rows in loader.planned_rows(1)] for loader in ranks]
    for loader, rows in zip(ranks, planned, strict=True):
        loader.set_epoch(1)
        assert rows_of(loader) == rows
    assert planned[0] != planned[1]


def test_of_pairs_that_grow_nobody_knows_them():
    loader = make(helip.StreamingMiner(memory=24))
    with pytest.raises(InvalidArgumentError, match="whose finds depend on the run"):
        loader.planned_rows(0)
    with pytest.raises(InvalidArgumentError, match="epoch is -1, must be at least 0"):
        make().planned_rows(-1)
