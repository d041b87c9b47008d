"""What a plan says of stages is what a job makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import helip
from helip.mining.options import ClusterOptions, MineOptions
from helip.mining.stages.job import cut_of, stages_folder
from support.stage_samples import CALL, clustered_rows, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)


def bytes_of(out: Path, plan: helip.Plan) -> int:
    """The bytes of the first round, whose units are those of the plan."""
    total = 0
    for name, units in plan.stages.items():
        if name == "write":
            continue
        (folder,) = (each for each in stages_folder(out).iterdir() if each.name in _first(name))
        sizes = [file.stat().st_size for file in folder.iterdir()]
        assert len(sizes) == units, name
        total += sum(sizes)
    return total


def _first(name: str) -> set[str]:
    return {name, f"{name}-0", f"{name}-0-0"}


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_units_and_bytes_are_those_of_a_job(tmp_path: Path, dtype: str) -> None:
    store = write_store(tmp_path / "s", clustered_rows(), dtype)
    options: dict[str, Any] = {"cluster_rows": 500, "overlap": 1, "recall": 0.9, "k": 10, "skip": 2}
    out = tmp_path / "p"
    helip.mine(store, out=out, **{**CALL, **options}, keep_stages=True)
    plan = helip.plan(store, method="partition", threads=1, **options)
    assert plan.scratch_bytes == pytest.approx(bytes_of(out, plan), rel=0.1)
    files = sum(file.stat().st_size for file in out.iterdir())
    assert plan.disk_bytes == pytest.approx(files, rel=0.1)


def test_less_memory_makes_more_units() -> None:
    sizes = [
        cut_of(1_000_000, 3328, MineOptions(), ClusterOptions(cluster_rows=50_000), memory)
        for memory in ("4GB", "200MB")
    ]
    assert sizes[0].ranges < sizes[1].ranges
    assert sizes[0].clusters == sizes[1].clusters == 40


def test_the_memory_of_a_unit_is_bounded_where_the_core_takes_it(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows())
    plans = [
        helip.plan(store, method="partition", cluster_rows=1900, threads=1, memory=memory)
        for memory in ("1GB", "1MB")
    ]
    assert plans[1].memory_bytes < plans[0].memory_bytes
