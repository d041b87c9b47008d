"""A job is planned from its data, or from the size of data that are not there yet."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, UnsupportedError


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


def test_a_plan_prints_as_a_table() -> None:
    plan = helip.plan(rows=2_000_000, dims=(8, 8), method="partition", cluster_rows=500_000)
    lines = str(plan).splitlines()
    assert lines[0].split(maxsplit=1) == ["method", f"partition ({plan.reason})"]
    assert [line.split()[0] for line in lines[1:7]] == [
        "device", "time", "memory", "disk", "scratch", "pairs"
    ]  # fmt: skip
    assert len(lines) == 7 + len(plan.stages)
    assert all(each.name in line for each, line in zip(plan.stages, lines[7:], strict=True))


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


STAGED: dict[str, Any] = {"rows": 3_000_000, "dims": (8, 8), "method": "partition", "threads": 2}


@pytest.mark.parametrize("rows", [2_000_000, 10**9, 2**31 - 1])
def test_stages_of_any_number_of_rows_are_planned_at_once(rows: int) -> None:
    begun = time.process_time()
    plan = helip.plan(
        rows=rows, dims=(512, 768), method="partition", engine="ray", machines=64, threads=32
    )
    assert time.process_time() - begun < 0.5
    assert plan.rows_from == "dims" and "EPYC" in plan.measured_on
    assert (plan.machines, plan.threads) == (64, 32)
    assert plan.seconds == pytest.approx(3600 * sum(s.hours for s in plan.stages if not s.if_short))
    assert plan.scratch_bytes > 2 * 2 * (512 + 768) * rows
    assert plan.disk_bytes == rows * (8 * 100 + 4) + 1000 * 12 * 101  # with the kept sample
    assert plan.to_dict()["stages"][0]["name"] == "centres"


def test_more_machines_take_less_time_and_the_same_work() -> None:
    one, ten = (
        helip.plan(**STAGED, engine="ray", cluster_rows=10_000, machines=n) for n in (1, 10)
    )
    assert [s.cpu_hours for s in one.stages] == [s.cpu_hours for s in ten.stages]
    hours = [{s.name: s.hours for s in plan.stages} for plan in (one, ten)]
    assert hours[0]["solve-0"] == pytest.approx(10 * hours[1]["solve-0"])  # of 600 clusters
    assert hours[0]["centres"] == hours[1]["centres"]  # one unit
    assert ten.seconds < one.seconds
    assert not any(s.network_bytes for s in one.stages)
    assert all(s.network_bytes for s in ten.stages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"machines": 0}, "machines is 0, must be at least 1"),
        ({"machines": 1.5}, "machines is 1.5, must be a whole number"),
        ({"machines": 2}, "machines is 2, and the job is not one in stages; give engine='ray'"),
        ({"machines": 2, "engine": "ray", "method": "auto"}, "machines is 2, and method 'auto'"),
        ({"machines": 2, "engine": "local"}, "machines is 2 and engine 'local', whose processes"),
        ({"machines": 2, "engine": "ray", "rows": 900_000}, "900,000 rows fit one cluster; plan"),
        ({"engine": "local", "method": "exact"}, "engine is 'local' and method 'exact'"),
        ({"engine": "processes"}, "engine is 'processes', must be one of"),
        ({"engine": "ray", "recall": 0.99999}, "recall is 0.99999, must be at most 0.99994 in"),
        ({"engine": "ray", "image": matrix(3, 4)}, "give one of both"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_machines_that_could_not_do_it_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        helip.plan(**{**STAGED, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 2**31}, "there are 2,147,483,648 rows, must be at most 2,147,483,647"),
        ({"collapse": "text"}, "collapse is 'text'"),
        ({"device": "cuda"}, "device is 'cuda'; stages are for CPUs"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_stages_do_not_know_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        helip.plan(**{**STAGED, "engine": "ray", **options})


def test_arrays_have_no_stages() -> None:
    arrays = {"image": matrix(300, 8), "text": matrix(300, 6)}
    with pytest.raises(InvalidArgumentError, match="mining in stages needs a store"):
        helip.plan(**arrays, method="partition", cluster_rows=100)


def test_rows_that_fit_one_cluster_are_planned_without_stages() -> None:
    plan = helip.plan(rows=3000, dims=(8, 8), method="partition", engine="local", device="cpu")
    assert not plan.stages and plan.rows_from == "random"
