"""What becomes of rows that were not embedded, and so have no hard pair, where they are planned."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from helip.common.errors import Error, SampleError
from helip.loading.account import target_rows_of
from helip.loading.loader import HardPairLoader
from support.loader_samples import FakeData, table_of, to_tensor

ROWS, K = 120, 6


class Damaged(FakeData):
    """Pictures of which those of ``bad`` cannot be read."""

    def __init__(self, rows: int, bad: Iterable[int]) -> None:
        super().__init__(rows)
        self.bad = set(bad)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if row in self.bad:
            raise SampleError("damaged", key=self.keys[row], reason="unreadable_image")
        return super().__getitem__(row)


def made(data: Damaged, **options: Any) -> HardPairLoader:
    """Of a table in which each 4th row was not embedded; the others' pools are the next such."""
    kept = [row for row in range(ROWS) if row % 4]
    pools = [
        [(kept[(kept.index(row) + j) % len(kept)], 0.5) for j in range(1, K + 1)] if row % 4 else []
        for row in range(ROWS)
    ]
    options = {"batch_size": 12, "seed": 5, "transform": to_tensor, **options}
    return HardPairLoader(data, table_of(pools, K), **options)


def rows_of(batches: Iterable[dict[str, Any]]) -> list[list[int]]:
    return [batch["index"].tolist() for batch in batches]


@pytest.mark.parametrize("options", [{"strategy": "communities"}, {"hard_per_target": 0}])
def test_rows_that_were_not_embedded_do_not_count_as_failures(options):
    data = Damaged(ROWS, range(0, ROWS, 4))
    loader = made(data, **options)
    assert sorted(row for batch in rows_of(loader) for row in batch) == [
        row for row in range(ROWS) if row % 4
    ]
    stats = loader.stats()
    assert (stats["emitted"], stats["quarantined"]) == (90, {"unreadable_image": 30})
    assert (stats["unreadable_rows"], stats["target_rows"]) == (30, ROWS)
    data.bad |= set(range(1, ROWS, 8))  # 15 of the other 90
    with pytest.raises(Error, match=r"max_quarantined = 0.1 .* of them have no hard pair"):
        list(loader)
    loader = made(data, max_quarantined=15 / 90, **options)
    assert sum(map(len, rows_of(loader))) == 75


def test_a_batch_of_rows_that_were_not_embedded_is_skipped():
    data = Damaged(ROWS, range(0, ROWS, 4))
    options = {"strategy": "communities", "batch_size": 2}
    loader = made(data, **options)
    planned = [rows.tolist() for rows in loader.planned_rows(0)]
    read = [kept for rows in planned if (kept := [row for row in rows if row % 4])]
    assert rows_of(loader) == read
    stats = loader.stats()
    assert stats["skipped_batches"] == len(planned) - len(read) > 0
    assert stats["batches"] == len(planned) and stats["emitted"] == 90
    resumed = made(data, **options)
    next(batches := iter(loader))
    resumed.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    assert rows_of(resumed) == rows_of(batches)
    assert resumed.stats() == loader.stats()
    with pytest.raises(Error, match=r'no row of batch .*short="skip"'):
        for rank in range(2):  # the ranks go in step
            list(made(data, rank=rank, world_size=2, **options))
    ranks = [made(data, rank=rank, world_size=2, **options) for rank in range(2)]
    for loader in ranks:
        loader.gives_empty_batches = True
        batches = rows_of(loader)
        assert len(batches) == len(loader)
        assert batches.count([]) == loader.stats()["skipped_batches"]
    assert sum(loader.stats()["emitted"] for loader in ranks) == 90


@pytest.mark.parametrize(
    ("stats", "kept"),
    [
        (
            {"rows": np.int64(9), "target_rows": np.int32(4), "epoch": 1},
            {"rows": 9, "target_rows": 4},
        ),
        ({"rows": 9}, {}),
        ({"rows": 9, "target_rows": None}, {}),
    ],
)
def test_rows_are_told_where_both_numbers_are_known(stats, kept):
    assert target_rows_of(stats) == kept
    assert all(type(value) is int for value in target_rows_of(stats).values())
