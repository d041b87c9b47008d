"""Processes that run units: the same bytes, also where one is killed; their errors are raised."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import helip
from helip.common.errors import CorruptError, Error
from helip.mining.stages import running
from helip.mining.stages.job import stages_folder
from support.http_shards import serving
from support.stage_samples import CALL, clustered_rows, files_of, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)
LOCAL = {**CALL, "engine": "local"}


@pytest.fixture
def store(
    tmp_path: Path, small_units: Path, monkeypatch: pytest.MonkeyPatch
) -> helip.EmbeddingStore:
    monkeypatch.setenv("TMPDIR", str(small_units))
    return write_store(tmp_path / "s", clustered_rows(1200))


@pytest.mark.slow
def test_two_processes_one_of_which_is_killed_give_the_same_bytes(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill(stage: str, done: int, total: int) -> None:
        if not killed and stage == "certify" and done:
            killed.extend(child.pid for child in multiprocessing.active_children()[:1] if child.pid)
            os.kill(killed[0], signal.SIGKILL)

    helip.mine(store, out=tmp_path / "a", **CALL)
    helip.mine(store, out=tmp_path / "b", **{**LOCAL, "threads": 2}, on_progress=kill)
    assert killed
    assert files_of(tmp_path / "b") == files_of(tmp_path / "a")
    assert not stages_folder(tmp_path / "b").exists()
    assert not multiprocessing.active_children()


def test_a_job_that_is_stopped_leaves_no_process(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    with pytest.raises(helip.CancelledError):
        helip.mine(
            store, out=tmp_path / "p", **LOCAL, on_progress=lambda stage, *_: stage != "certify"
        )
    assert not multiprocessing.active_children()


def test_processes_run_nothing_of_the_program_that_starts_them(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    """Neither guarded by __name__ nor able to mine again: the table is there already."""
    program = tmp_path / "program.py"
    program.write_text(
        f"import helip\nhelip.mine({store.path!r}, out={str(tmp_path / 'p')!r}, **{LOCAL!r})\n"
        f"open({str(tmp_path / 'ran')!r}, 'x')\n",
        encoding="utf-8",
    )
    subprocess.run([sys.executable, program], check=True)
    assert (tmp_path / "ran").exists()
    assert files_of(tmp_path / "p")


@pytest.mark.parametrize("outer", ["3", None])
def test_processes_take_one_thread_for_each_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outer: str | None
) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    for name in names:
        monkeypatch.delenv(name, raising=False)
        if outer:
            monkeypatch.setenv(name, outer)
    inner: list[str | None] = []

    class Watched(Pools):
        def submit(self, *call: Any) -> Future[None]:
            inner.extend(map(os.environ.get, names))
            return super().submit(*call)

    run_six_units(Watched(set(), each_time=False), tmp_path, monkeypatch)
    assert set(inner) == {"1"}
    assert [os.environ.get(name) for name in names] == [outer] * 3


def test_what_a_unit_raises_is_raised_here(store: helip.EmbeddingStore, tmp_path: Path) -> None:
    out = tmp_path / "p"
    with pytest.raises(helip.CancelledError):
        helip.mine(store, out=out, **CALL, on_progress=lambda stage, *_: stage != "route")
    (stages_folder(out) / "centres" / "000000.safetensors").write_bytes(b"x")
    with pytest.raises(CorruptError, match=r"000000.safetensors is damaged"):
        helip.mine(store, out=out, **LOCAL)


def test_a_unit_whose_process_dies_again_and_again_is_named(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_watch", os.abort)  # takes no argument, and so fails
    with pytest.raises(Error, match=r"stage centres, unit 1 of 1: a process ended 3 times"):
        helip.mine(store, out=tmp_path / "p", **LOCAL)


class Pools:
    """Pools of processes that all die with the unit ``deadly``; unit 0 is never done beside one."""

    def __init__(self, deadly: set[int], *, each_time: bool) -> None:
        self.deadly, self.each_time, self.running = deadly, each_time, list[Future[None]]()

    def __call__(self, *_: Any) -> Pools:
        self.running = []
        return self

    def submit(self, work: Any, *call: Any) -> Future[None]:
        unit, future = call[-1], Future[None]()
        if unit in self.deadly:
            self.deadly -= set() if self.each_time else {unit}
            for each in (future, *self.running):
                each.set_exception(BrokenProcessPool())
        elif unit == 0 and self.deadly:
            self.running.append(future)
        else:
            future.set_result(None)
        return future

    def shutdown(self) -> None: ...


def run_six_units(pools: Pools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(running, "ProcessPoolExecutor", pools)
    step: Any = SimpleNamespace(stage="solve", key=("solve", 0, 0), units=lambda job: 6)
    place: Any = SimpleNamespace(out=tmp_path / "p", digest="", path=str(tmp_path / "s"))
    done: list[None] = []
    with running._Processes(place, place, count=2, memory=1) as processes:
        processes.run(step, list(range(6)), lambda: done.append(None))
    return len(done)


def test_deaths_beside_a_long_unit_do_not_count_where_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = Pools({1, 2, 3, 4, 5}, each_time=False)
    assert run_six_units(pools, tmp_path, monkeypatch) == 6


def test_each_unit_that_ran_is_named_where_processes_die_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = Pools({1}, each_time=True)
    with pytest.raises(Error, match=r"stage solve, one of the units 1, 2 of 6: .* ended 3 times"):
        run_six_units(pools, tmp_path, monkeypatch)


def test_a_process_that_may_have_no_children_is_told_so(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(helip.UnsupportedError, match="no children; use engine='threads'"):
        helip.mine(store, out=tmp_path / "p", **LOCAL)


def test_processes_open_a_store_by_its_url(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HELIP_CACHE", str(tmp_path / "cache"))
    helip.mine(store, out=tmp_path / "a", **CALL)
    with serving(tmp_path) as server:
        url = f"{server.url}/s"
        planned = helip.plan(url, method="partition", engine="local", cluster_rows=500, threads=1)
        assert not (tmp_path / "cache").exists()  # the manifest alone
        assert planned.download_bytes == 1200 * 40 * 4
        helip.mine(url, out=tmp_path / "b", **LOCAL)
    assert files_of(tmp_path / "b") == files_of(tmp_path / "a")
