"""What a plan says of stages is what a job makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import helip
from helip.mining.options import ClusterOptions, MineOptions
from helip.mining.stages.job import Cut, cut_of, stages_folder
from helip.mining.stages.stage_plans import Shape, StagePlan, plan_stages
from support.stage_samples import CALL, clustered_rows, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)

SHAPE = Shape(dimensions=1664, row_bytes=3328, kept=50, targets=1000)


def cut(rows: int, cluster_rows: int, *, unit_rows: int = 8192, overlap: int = 2) -> Cut:
    return Cut(
        rows=rows, cluster_rows=cluster_rows, overlap=overlap, unit_rows=unit_rows,
        clusters=-(-rows * overlap // cluster_rows),
    )  # fmt: skip


def named(stages: tuple[StagePlan, ...]) -> dict[str, StagePlan]:
    return {stage.name: stage for stage in stages}


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_units_and_bytes_are_those_of_a_job(tmp_path: Path, dtype: str) -> None:
    store = write_store(tmp_path / "s", clustered_rows(), dtype)
    options = {"cluster_rows": 500, "overlap": 1, "recall": 0.97, "k": 10, "skip": 2}
    out = tmp_path / "p"
    table = helip.mine(store, out=out, **{**CALL, **options}, keep_stages=True)
    assert table.report["stages"]["passes"] and table.report["stages"]["widened"]
    plan = helip.plan(store, method="partition", threads=1, **options)
    planned = {stage.name: stage for stage in plan.stages}
    both = 0, 0
    for folder in stages_folder(out).iterdir():
        if not folder.is_dir() or folder.name not in planned:
            continue  # further passes and rounds
        sizes = [file.stat().st_size for file in folder.iterdir()]
        stage = planned.pop(folder.name)
        assert stage.units == len(sizes), stage
        if stage.if_short and stage.name[-1] == "1" and stage.name != "refine-0-1":
            assert sum(sizes) < 1.1 * stage.scratch_bytes  # if every row were widened
        elif stage.scratch_bytes > 50_000:  # else headers count
            assert stage.scratch_bytes == pytest.approx(sum(sizes), rel=0.1), stage
        if not stage.if_short:
            both = both[0] + stage.scratch_bytes, both[1] + sum(sizes)
    assert list(planned) == ["write"]
    assert plan.scratch_bytes == both[0] == pytest.approx(both[1], rel=0.1)
    files = sum(file.stat().st_size for file in out.iterdir())
    assert plan.disk_bytes == pytest.approx(files, rel=0.1)


def test_the_memory_of_a_unit_is_bounded_where_the_core_takes_it() -> None:
    size = cut(10_000_000, 1_000_000, unit_rows=81_920)
    free, bound = (named(plan_stages(size, SHAPE, memory)) for memory in (1 << 40, 1 << 30))
    assert bound["solve-0"].memory_bytes == 1 << 30 < free["solve-0"].memory_bytes
    assert free["certify"].memory_bytes > 81_920 * 3328


def test_less_memory_makes_more_units() -> None:
    sizes = [
        cut_of(1_000_000, 3328, MineOptions(), ClusterOptions(cluster_rows=50_000), memory)
        for memory in ("4GB", "200MB")
    ]
    assert sizes[0].ranges < sizes[1].ranges
    assert sizes[0].clusters == sizes[1].clusters == 40
