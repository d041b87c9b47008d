"""A job is planned from its data, or from the size of data that are not there yet."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError


def matrix(rows: int, dim: int) -> np.ndarray:
    return np.random.default_rng(dim).normal(size=(rows, dim)).astype(np.float32)


def test_rows_and_dims_cost_the_memory_and_disk_of_such_data() -> None:
    rows, dims = 6000, (48, 32)
    options: dict[str, Any] = {"k": 10, "method": "exact", "device": "cpu"}
    ahead = helip.plan(rows=rows, dims=dims, **options)
    there = helip.plan(image=matrix(rows, 48), text=matrix(rows, 32), **options)
    assert (ahead.rows_from, there.rows_from) == ("random", "data")
    assert ahead.to_dict()["rows_from"] == "random"
    for name in ("method", "memory_bytes", "disk_bytes", "pairs"):
        assert getattr(ahead, name) == getattr(there, name)
    assert ahead.seconds > 0


def test_many_rows_are_planned_without_them() -> None:
    plan = helip.plan(rows=2_000_000, dims=(32, 16), k=50, method="partition", device="cpu")
    assert plan.disk_bytes >= 2_000_000 * 50 * 8
    assert plan.filters["passed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 10}, "dims None; give both"),
        ({"dims": (4, 4)}, "rows is None"),
        ({"rows": 10, "dims": (4, 4), "image": matrix(3, 4)}, "give one of both"),
        ({"rows": 10, "dims": (4, 4), "store": "s"}, "give one of both"),
        ({"rows": 0, "dims": (4, 4)}, "rows is 0, must be at least 1"),
        ({"rows": 10, "dims": (4, 0)}, "dims is 0, must be at least 1"),
        ({"rows": 10, "dims": (4,)}, "2 values"),
        ({"rows": 10**30, "dims": (4, 4)}, "must be at most 1099511627776"),
        ({"rows": 10, "dims": (4, 2**20 + 1)}, "dims is 1048577, must be at most 1048576"),
        ({}, "pass a store"),
    ],
    ids=str,
)
def test_a_size_is_whole_and_stands_alone(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        helip.plan(**options)
