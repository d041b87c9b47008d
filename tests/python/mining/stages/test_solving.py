"""Solving: a cluster is mined as a data set of its own, in bounded memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import CancelledError, StorageError
from helip.mining.options import HostOptions
from helip.mining.stages import solving
from helip.mining.stages.job import Workplace, open_job
from helip.mining.stages.running import run_unit
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import open_unit_file
from support.stage_samples import CALL, clustered_rows, small_units, write_store

pytestmark = pytest.mark.usefixtures(small_units.__name__)
SOLVE = Step("solve", 0)


@pytest.fixture
def store(tmp_path: Path) -> helip.EmbeddingStore:
    """With a job in which all rows are routed."""
    store = write_store(tmp_path / "s", clustered_rows(1200))
    with pytest.raises(CancelledError):
        helip.mine(
            store, out=tmp_path / "p", on_progress=lambda stage, *_: stage != "solve", **CALL
        )
    return store


def solved(store: helip.EmbeddingStore, folder: Path, memory: str) -> bytes:
    job = open_job(folder / "p")
    run_unit(Workplace(job, store, HostOptions(threads=1, memory=memory)), SOLVE, 1)
    made = SOLVE.place(job, 1).read_bytes()
    return made


def test_the_pools_are_the_exact_ones_within_the_cluster(
    store: helip.EmbeddingStore, tmp_path: Path
) -> None:
    solved(store, tmp_path, "1GB")
    job = open_job(tmp_path / "p")
    file = open_unit_file(SOLVE.place(job, 1), job=job.digest)
    rows = np.array(file["targets"])
    assert (np.diff(rows) > 0).all()
    exact = helip.mine(
        image=store.image[rows], text=store.text[rows], k=10, method="exact", device="cpu",
        progress=False,
    )  # fmt: skip
    np.testing.assert_array_equal(file["scores"], exact.scores)
    np.testing.assert_array_equal(file["ids"], np.where(exact.ids < 0, -1, rows[exact.ids]))
    np.testing.assert_array_equal(file["counts"], exact.counts)


def test_what_memory_does_not_hold_lies_in_files_and_the_bytes_are_the_same(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = solved(store, tmp_path, "1GB")
    SOLVE.place(open_job(tmp_path / "p"), 1).unlink()
    made: list[str] = []
    room = solving._room

    def seen(path: Path, dtype: Any, shape: Any, in_memory: bool) -> np.ndarray:
        made.extend([] if in_memory else [path.name])
        return room(path, dtype, shape, in_memory)

    monkeypatch.setattr(solving, "_room", seen)
    assert solved(store, tmp_path, "40KB") == whole
    assert made == ["image", "text", "ids", "scores"]


def test_a_scratch_disk_that_is_full_names_the_unit(
    store: helip.EmbeddingStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(solving.os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"stage solve, unit 2 of 5: cannot write .*No space"):
        solved(store, tmp_path, "40KB")
    assert SOLVE.missing(open_job(tmp_path / "p")) == [0, 1, 2, 3, 4]
