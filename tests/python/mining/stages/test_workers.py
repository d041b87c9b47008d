"""Processes that run units: the same bytes, also where one is killed; their errors are raised."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

import helip
from helip.common.errors import CorruptError, Error
from helip.mining.stages import workers
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


def test_two_processes_one_of_which_is_killed_give_the_same_bytes(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[Any] = []

    def tell(process: subprocess.Popen[bytes], message: Any) -> None:
        if not killed and message[0] == "certify":
            killed.append(message)
            process.send_signal(signal.SIGKILL)
            process.wait()
        told(process, message)

    told = workers._tell
    monkeypatch.setattr(workers, "_tell", tell)
    helip.mine(store, out=tmp_path / "a", **CALL)
    helip.mine(store, out=tmp_path / "b", **{**LOCAL, "threads": 2})
    assert killed
    assert files_of(tmp_path / "b") == files_of(tmp_path / "a")
    assert not stages_folder(tmp_path / "b").exists()


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
    begin = workers.Workers.__init__

    def broken(self: Any, *call: Any, **options: Any) -> None:
        begin(self, *call, **options)
        self._call = ["false"]

    monkeypatch.setattr(workers.Workers, "__init__", broken)
    with pytest.raises(Error, match=r"stage centres, unit 1 of 1: its process ended 3 times"):
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
