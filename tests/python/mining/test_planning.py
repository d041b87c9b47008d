"""A job is planned from its data."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.mining.engines import parts as mine_parts
from helip.mining.engines import threads
from helip.mining.engines.threads import mine_by_core


def matrix(rows: int, dim: int) -> np.ndarray:
    return np.random.default_rng(dim).normal(size=(rows, dim)).astype(np.float32)


def store_of(path: Path, rows: int = 300) -> helip.EmbeddingStore:
    with helip.EmbeddingStore.create(path, image_dim=8, text_dim=6, dtype="float16") as writer:
        writer.append([str(row) for row in range(rows)], matrix(rows, 8), matrix(rows, 6))
    return helip.EmbeddingStore.open(path)


STAGED: dict[str, Any] = {"method": "partition", "cluster_rows": 100, "threads": 2}


def test_a_plan_prints_as_a_table(tmp_path: Path) -> None:
    plan = helip.plan(store_of(tmp_path / "s"), **STAGED)
    lines = str(plan).splitlines()
    assert lines[0].split(maxsplit=1) == ["method", f"partition ({plan.reason})"]
    assert [line.split()[0] for line in lines[1:7]] == [
        "device", "time", "memory", "disk", "scratch", "pairs"
    ]  # fmt: skip
    assert len(lines) == 7 + len(plan.stages)
    assert all(name in line for name, line in zip(plan.stages, lines[7:], strict=True))


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


def test_there_must_be_something_to_plan() -> None:
    with pytest.raises(InvalidArgumentError, match="pass a store"):
        helip.plan()


def test_stages_take_the_bytes_of_their_rows(tmp_path: Path) -> None:
    plan = helip.plan(store_of(tmp_path / "s"), k=20, **STAGED)
    assert plan.seconds is None and "6 clusters of about 100 rows" in plan.reason
    assert plan.scratch_bytes > 2 * 2 * (8 + 6) * 300
    assert plan.disk_bytes == 300 * (8 * 20 + 4) + 300 * 12 * 21  # with the kept sample
    assert plan.to_dict()["stages"]["solve"] == 6
    assert plan.download_bytes == 0
    assert "\nstage centres  1 unit\n" in str(plan) and "\nstage solve    6 units\n" in str(plan)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"engine": "local", "method": "exact", "cluster_rows": None}, InvalidArgumentError,
         "engine is 'local' and method 'exact'"),
        ({"engine": "processes"}, InvalidArgumentError, "engine is 'processes', must be one of"),
        ({"collapse": "text"}, UnsupportedError, "collapse is 'text'"),
        ({"device": "cuda"}, UnsupportedError, "device is 'cuda'; stages are for CPUs"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_what_stages_do_not_know_is_refused(
    tmp_path: Path, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        helip.plan(store_of(tmp_path / "s"), **{**STAGED, **options})


def test_arrays_have_no_stages() -> None:
    arrays = {"image": matrix(300, 8), "text": matrix(300, 6)}
    with pytest.raises(InvalidArgumentError, match="mining in stages needs a store"):
        helip.plan(**arrays, method="partition", cluster_rows=100)


def test_rows_that_fit_one_cluster_are_planned_without_stages() -> None:
    arrays = {"image": matrix(300, 8), "text": matrix(300, 6)}
    plan = helip.plan(**arrays, method="partition", engine="local", device="cpu")
    assert not plan.stages and plan.seconds is not None


def test_a_plan_has_the_parts_that_mining_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path / "s")
    options: dict[str, Any] = {"k": 5, "device": "cpu"}
    mined_in: list[int] = []

    def in_parts(job: Any, parts: int) -> Any:
        mined_in.append(parts)
        return mine_by_core(job, parts)

    monkeypatch.setattr(threads, "mine_by_core", in_parts)
    for name, seconds in (("short", 3600.0), ("long", 0.0)):
        # Nothing takes an hour here: what counts as long is what takes any time.
        monkeypatch.setattr(mine_parts, "_WHOLE_ROWS", 100)
        monkeypatch.setattr(mine_parts, "_WHOLE_SECONDS", seconds)
        monkeypatch.setattr(mine_parts, "_PART_SECONDS", 1e-9)
        monkeypatch.setattr(mine_parts, "_MOST_PARTS", 6)
        for parts, expected in ((None, 6 if seconds == 0 else 1), (4, 4), (1, 1)):
            plan = helip.plan(store, **options, parts=parts)
            out = tmp_path / f"{name}-{parts}"
            helip.mine(store, **options, parts=parts, out=out, progress=False)
            assert plan.parts == mined_in.pop() == expected
            assert plan.method == "exact" and plan.bands == expected
            assert ("parts" in str(plan)) == (expected > 1)
        arrays = {"image": matrix(300, 8), "text": matrix(300, 6)}
        assert helip.plan(**arrays, **options).parts == 1
        assert helip.plan(store, method="hnsw", **options).parts == 1


def test_a_job_in_parts_is_exact_and_has_the_pools_of_one_part_in_memory(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", rows=5000)
    whole, parts = (helip.plan(store, k=100, device="cpu", parts=n) for n in (1, 8))
    assert parts.memory_bytes < whole.memory_bytes and parts.pairs == whole.pairs
    assert parts.scratch_bytes == whole.scratch_bytes + parts.disk_bytes
    assert parts.method == "exact" and parts.reason == "parts are mined exactly"


def test_parts_that_mining_refuses_are_not_planned(tmp_path: Path) -> None:
    store, arrays = store_of(tmp_path / "s"), {"image": matrix(300, 8), "text": matrix(300, 6)}
    for call, kind in (
        ({"store": store, "method": "hnsw"}, UnsupportedError),
        ({"store": store, **STAGED}, UnsupportedError),
        ({"store": store, "device": "cuda"}, UnsupportedError),
        (arrays, InvalidArgumentError),
    ):
        options: dict[str, Any] = {"k": 5, "parts": 3, **call}
        with pytest.raises(kind) as planned:
            helip.plan(**options)
        with pytest.raises(kind) as mined:
            helip.mine(**options, out=tmp_path / "p", progress=False)
        assert str(planned.value) == str(mined.value)


def test_mapped_files_come_on_top_of_the_memory_that_is_bounded(tmp_path: Path) -> None:
    store, rows = store_of(tmp_path / "s", rows=5000), 5000
    options: dict[str, Any] = {"k": 5, "device": "cpu"}
    plan = helip.plan(store, **options)
    assert plan.mapped_bytes == rows * (8 + 6) * 2 and plan.scratch_bytes == 0
    assert "of mapped files" in str(plan)
    assert helip.plan(store, modality="text", **options).mapped_bytes == rows * 6 * 2
    small = helip.plan(store, memory=1, **options)  # codes go to a file
    assert small.scratch_bytes > 0
    assert small.mapped_bytes == rows * (8 + 6) * 2 + small.scratch_bytes
    arrays = {name: matrix(rows, dim) for name, dim in (("image", 8), ("text", 6))}
    assert helip.plan(**arrays, **options).mapped_bytes == 0
    for name, values in arrays.items():
        np.save(tmp_path / name, values)
    files = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in arrays}
    assert helip.plan(**files, **options).mapped_bytes == rows * (8 + 6) * 4
