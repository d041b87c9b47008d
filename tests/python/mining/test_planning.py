"""A job is planned from its data, or from the size of data that are not there yet."""

from __future__ import annotations

import warnings
from pathlib import Path
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


def test_rows_of_a_job_that_was_stopped_are_told(tmp_path: Path) -> None:
    path = tmp_path / "s"
    options: dict[str, Any] = {"k": 3, "device": "cpu"}
    for rows, complete in ((30, None), (40, True), (50, False)):
        with (
            helip.EmbeddingStore.append_to(path)
            if path.exists()
            else helip.EmbeddingStore.create(path, image_dim=8, text_dim=6)
        ) as writer:
            first = len(writer)
            keys = [str(row) for row in range(first, rows)]
            writer.append(keys, matrix(rows, 8)[first:], matrix(rows, 6)[first:])
            writer.commit({} if complete is None else {"complete": complete})
        for call in (
            lambda: helip.mine(path, progress=False, **options),
            lambda: helip.plan(path, **options),
        ):
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                call()
            words = [str(each.message) for each in told]
            assert len(words) == (complete is False), words
            for each in told:
                assert each.filename == __file__
                assert f"{path} has 50 rows so far" in str(each.message)
                assert "goes on when it is called again" in str(each.message)


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
