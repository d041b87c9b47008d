"""Drops: what rules keep out, once for each pair of several clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.mining.stages.drops import Drops, joined_drops
from helip.pairs.blocks import Pools
from support.stage_samples import CALL, clustered_rows, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)


def drops_of(*rows: tuple[int, int, float, int]) -> Drops:
    targets, ids, scores, rules = zip(*rows, strict=True)
    return Drops(np.array(targets), np.array(ids), np.array(scores), np.uint8(rules))


def test_a_pair_counts_once_and_while_it_would_be_in_the_pool() -> None:
    pools = Pools(
        np.array([[7, 8], [9, -1], [1, 2]]), np.float32([[0.9, 0.8], [0.5, 0], [0.9, 0.8]]),
        np.array([2, 1, 2]),
    )  # fmt: skip
    first = drops_of((10, 3, 0.95, 1), (10, 4, 0.7, 2), (11, 5, 0.1, 3))
    second = drops_of((10, 3, 0.95, 1), (10, 6, 0.85, 2), (11, 6, 0.05, 1), (12, 3, 0.85, 1))
    joined = joined_drops([first, second], 10, pools)
    # Of target 10 only the best two of pool and drops count: 3 and 7; of 11 the pool has one place.
    assert list(zip(joined.targets.tolist(), joined.ids.tolist(), strict=True)) == [
        (10, 3), (11, 5), (12, 3),
    ]  # fmt: skip
    assert joined.rules.tolist() == [1, 3, 1]
    assert joined_drops([Drops.none()], 10, pools).rules.size == 0


@pytest.mark.parametrize(
    "rules",
    [{"image_max": 0.9, "text_max": 0.8}, {"image_max": 0.95, "skip": 2}, {"modality": "text"}],
    ids=str,
)
def test_drops_of_rows_that_lie_close_are_those_of_exact_mining(
    tmp_path: Path, rules: dict[str, Any]
) -> None:
    # Groups of few rows that are alike: most of what would be in a pool is dropped.
    store = write_store(tmp_path / "s", clustered_rows(1500, groups=50, noise=0.2))
    options = {"k": 4, **rules}
    table = helip.mine(store, out=tmp_path / "p", **{**CALL, **options, "overlap": 4})
    exact = helip.mine(store, method="exact", device="cpu", progress=False, **options)
    assert sum(exact.report["drops"].values()) > 0
    assert table.report["drops"] == exact.report["drops"]
