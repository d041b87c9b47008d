"""What a plan says of stages is what a job makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

import helip
from helip.mining.options import ClusterOptions, MineOptions
from helip.mining.stages.job import Cut, cut_of, cut_of_update, open_job, stages_folder
from helip.mining.stages.stage_plans import Changed, Fleet, Shape, StagePlan, plan_stages
from support.stage_samples import CALL, IMAGE, clustered_rows, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)

SHAPE = Shape(dimensions=1664, row_bytes=3328, kept=50, targets=1000, copied=False)


def cut(rows: int, cluster_rows: int, *, unit_rows: int = 8192, overlap: int = 2) -> Cut:
    return Cut(
        rows=rows, cluster_rows=cluster_rows, overlap=overlap, unit_rows=unit_rows,
        clusters=-(-rows * overlap // cluster_rows),
    )  # fmt: skip


def fleet(engine: str = "ray", machines: int = 1, threads: int = 1, memory: int = 1 << 34) -> Fleet:
    return Fleet(engine=engine, machines=machines, threads=threads, memory=memory)  # type: ignore[arg-type]


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


@pytest.mark.parametrize(("rows", "deleted"), [(1960, 4), (1600, 0)], ids=["few", "many new"])
def test_units_and_bytes_of_an_update_are_those_of_its_job(
    tmp_path: Path, rows: int, deleted: int
) -> None:
    values, base, out = clustered_rows(), tmp_path / "p", tmp_path / "q"
    helip.mine(write_store(tmp_path / "s", values[:rows]), out=base, **CALL)
    with helip.EmbeddingStore.append_to(tmp_path / "s") as writer:
        keys = [str(row) for row in range(rows, len(values))]
        writer.append(keys, values[rows:, :IMAGE].copy(), values[rows:, IMAGE:].copy())
        writer.delete(list(range(60, 60 + deleted)))
    plan = helip.plan(tmp_path / "s", update=base, threads=1)
    helip.update(
        base, tmp_path / "s", out=out, keep_stages=True, threads=1, progress=False
    )  # fmt: skip
    job = open_job(out)
    assert job.clusters == next(s.units for s in plan.stages if s.name == "solve-0")
    assert plan.update["added"] == len(values) - rows and plan.update["deleted"] == deleted
    planned = {stage.name: stage for stage in plan.stages if not stage.if_short}
    for stage in planned.values():
        if stage.name == "write":
            continue
        sizes = [file.stat().st_size for file in (stages_folder(out) / stage.name).iterdir()]
        assert stage.units == len(sizes), stage
        if stage.scratch_bytes > 50_000:  # else headers count
            assert stage.scratch_bytes == pytest.approx(sum(sizes), rel=0.15), stage
    report = helip.HardPairs.open(out).report["update"]
    assert plan.update["certified_before"] == pytest.approx(report["certified_before"], abs=10)


def test_an_update_of_more_rows_than_a_quarter_of_a_cluster_mines_it_anew() -> None:
    solved = {}
    for fresh in (4000, 90_000):
        changed = Changed(fresh=fresh, gone=0, short=0, known=0)
        clusters = ClusterOptions(cluster_rows=100_000)
        size = cut_of_update(1_000_000, fresh, 3328, MineOptions(), clusters, "4GB")
        stages = plan_stages(size, SHAPE, fleet(), changed)
        solved[fresh] = named(stages)["solve-0"].scratch_bytes, size.clusters
    pools = 8 * 50 + 4 + 8  # bytes
    assert solved[4000][0] < 0.5 * pools * 1_000_000
    assert solved[90_000] == (pools * (910_000 + 4 * 90_000), 13)


def test_pools_that_lost_a_pair_and_an_absent_kept_sample_cost_more() -> None:
    size = cut_of_update(200_000, 2000, 3328, MineOptions(), ClusterOptions(), "4GB")
    whole = Changed(fresh=2000, gone=0, short=0, known=990)
    stages = named(plan_stages(size, SHAPE, fleet(), whole))
    lost = named(
        plan_stages(size, SHAPE, fleet(), Changed(fresh=2000, gone=200, short=9000, known=990))
    )
    bare = named(plan_stages(size, SHAPE, fleet(), Changed(fresh=2000, gone=0, short=0, known=0)))
    assert lost["merge-0"].cpu_hours > 3 * stages["merge-0"].cpu_hours
    assert bare["certify"].cpu_hours > 3 * stages["certify"].cpu_hours
    assert bare["solve-0"] == stages["solve-0"]


def test_each_task_of_ray_opens_the_table_and_each_process_of_a_machine_once() -> None:
    size = cut_of_update(900_000, 9000, 3328, MineOptions(), ClusterOptions(), "1GB")
    changed = Changed(fresh=9000, gone=0, short=0, known=0)
    ray, slices = (
        named(plan_stages(size, SHAPE, fleet(engine, machines=2), changed))["merge-0"]
        for engine in ("ray", "threads")
    )
    table = 4 * 900_000 * 51
    assert ray.read_bytes - slices.read_bytes == (ray.units - 2) * table


def test_the_costs_are_those_that_were_measured() -> None:
    """docs/scale.md has the run: 120,000 rows in 5 clusters and 15 ranges, one thread."""
    stages = named(plan_stages(cut(120_000, 50_000), SHAPE, fleet()))
    for name, seconds in {
        "centres": 1.25, "certify": 27.3, "route-0": 5.76, "solve-0": 79.8, "merge-0": 0.66,
        "measure-0-0": 0.08, "write": 0.10,
    }.items():  # fmt: skip
        assert 3600 * stages[name].cpu_hours == pytest.approx(seconds, rel=0.2), name
    assert stages["solve-0"].hours == pytest.approx(stages["solve-0"].cpu_hours)


def test_the_costs_of_an_update_are_those_that_were_measured() -> None:
    """docs/scale.md has the run: 63,000 rows, 3,000 of which are new, in 3 clusters."""
    size = cut_of_update(
        63_000, 3000, 3328, MineOptions(k=50), ClusterOptions(cluster_rows=30_000), None
    )
    assert (size.clusters, size.ranges) == (3, 16)
    changed = Changed(fresh=3000, gone=0, short=0, known=952)
    stages = named(plan_stages(size, SHAPE, fleet(), changed))
    for name, seconds in {"certify": 4.8, "solve-0": 10.4, "merge-0": 0.65, "write": 0.12}.items():
        assert 3600 * stages[name].cpu_hours == pytest.approx(seconds, rel=0.6), name


def test_small_clusters_cost_what_exact_mining_of_them_did() -> None:
    """Likewise 20,000 rows in 250 clusters and 5 ranges."""
    stages = named(plan_stages(cut(20_000, 160, unit_rows=4096), SHAPE, fleet()))
    for name, seconds in {"centres": 13.3, "route-0": 1.48, "merge-0": 0.29}.items():
        assert 3600 * stages[name].cpu_hours == pytest.approx(seconds, rel=0.2), name


@pytest.mark.parametrize(
    ("engine", "machines", "threads", "units_at_once", "threads_of_a_unit"),
    [
        ("threads", 1, 4, {"route": 1, "solve": 1}, {"route": 1, "solve": 4}),
        ("threads", 3, 4, {"route": 3, "solve": 3}, {"route": 1, "solve": 4}),
        ("local", 1, 4, {"route": 4, "solve": 4}, {"route": 1, "solve": 1}),
        ("ray", 3, 4, {"route": 12, "solve": 3}, {"route": 1, "solve": 4}),
    ],
)
def test_hours_are_those_of_turns_of_units(
    engine: str, machines: int, threads: int,
    units_at_once: dict[str, int], threads_of_a_unit: dict[str, int],
) -> None:  # fmt: skip
    workers = fleet(engine, machines, threads)
    for stage, lanes in units_at_once.items():
        for units in (1, 3, 10, 24):
            turns, left = 0, units
            while left > 0:
                turns, left = turns + 1, left - lanes
            each = 36.0 / threads_of_a_unit[stage]  # seconds of a unit
            hours = workers.hours(stage, units, 36.0 * units)
            assert hours == pytest.approx(turns * each / 3600)


def test_bytes_cross_the_network_where_machines_share_files() -> None:
    size = cut(120_000, 50_000)
    one = plan_stages(size, SHAPE, fleet())
    assert not any(stage.network_bytes for stage in one)
    several = plan_stages(size, SHAPE, fleet(machines=2))
    assert [s.read_bytes for s in several] == [s.network_bytes for s in several]
    assert [s.read_bytes for s in several] == [s.read_bytes for s in one]
    copied = Shape(dimensions=1664, row_bytes=3328, kept=50, targets=1000, copied=True)
    at_url = named(plan_stages(size, copied, fleet(machines=2)))
    before = named(several)
    assert before["certify"].network_bytes > 120_000 * 3328 > at_url["certify"].network_bytes == 0
    assert at_url["solve-0"].network_bytes == before["solve-0"].network_bytes


def test_the_memory_of_a_unit_is_bounded_where_the_core_takes_it() -> None:
    size = cut(10_000_000, 1_000_000, unit_rows=81_920)
    free, bound = (
        named(plan_stages(size, SHAPE, fleet(memory=memory))) for memory in (1 << 40, 1 << 30)
    )
    assert bound["solve-0"].memory_bytes == 1 << 30 < free["solve-0"].memory_bytes
    assert free["certify"].memory_bytes > 81_920 * 3328


def test_less_memory_makes_more_units() -> None:
    sizes = [
        cut_of(1_000_000, 3328, MineOptions(), ClusterOptions(cluster_rows=50_000), memory)
        for memory in ("4GB", "200MB")
    ]
    assert sizes[0].ranges < sizes[1].ranges
    assert sizes[0].clusters == sizes[1].clusters == 40
