"""Stores of clustered rows, and jobs in stages that are small enough for a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helip
from helip.mining import recall
from helip.mining.options import HostOptions
from helip.mining.stages import job as stage_job
from helip.mining.stages.job import StageJob, Workplace, open_job
from helip.mining.stages.running import run_unit
from helip.mining.stages.steps import current_step

ROWS, IMAGE, TEXT = 2000, 20, 20
CALL: dict[str, Any] = {
    "k": 10, "method": "partition", "cluster_rows": 500, "threads": 1, "progress": False,
}  # fmt: skip


def clustered_rows(rows: int = ROWS, *, groups: int = 60, noise: float = 0.7) -> np.ndarray:
    """[rows, IMAGE + TEXT] around random centres, with two rows of zeros and some copies."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(groups, IMAGE + TEXT))
    values = centres[random.integers(0, groups, rows)]
    values = values + noise * random.normal(size=values.shape) + 0.1
    values[7:12] = values[5]
    values[[3, rows - 1], :IMAGE] = 0
    return values.astype(np.float32)


def write_store(path: Path, values: np.ndarray, dtype: str = "float32") -> helip.EmbeddingStore:
    """A store of such rows."""
    options = {"image_dim": IMAGE, "text_dim": TEXT, "dtype": dtype}
    with helip.EmbeddingStore.create(path, **options) as writer:
        keys = [str(row) for row in range(len(values))]
        tensor = torch.from_numpy(values)
        writer.append(keys, tensor[:, :IMAGE].contiguous(), tensor[:, IMAGE:].contiguous())
    return helip.EmbeddingStore.open(path)


def run_in_any_order(job: StageJob, store: helip.EmbeddingStore, memory: str) -> None:
    """Runs all units of a job at random, a third of them twice, each to the same bytes."""
    random = np.random.default_rng(0)
    while (now := current_step(job)) is not None:
        step, missing = now
        for unit in random.permutation(missing).tolist():
            place = Workplace(open_job(job.out), store, HostOptions(threads=2, memory=memory))
            run_unit(place, step, unit)
            before = step.place(job, unit).read_bytes()
            if random.integers(3) == 0:
                step.place(job, unit).unlink()
                run_unit(place, step, unit)
            assert step.place(job, unit).read_bytes() == before


def files_of(path: Path) -> dict[str, bytes]:
    """The bytes of a table."""
    return {
        entry.name: entry.read_bytes()
        for entry in sorted(path.iterdir())
        if entry.name not in (".lock", ".in-use")
    }


@pytest.fixture
def small_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Units of 512 rows, a recall of 200 targets, and a folder for scratch that ends empty."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setattr(stage_job, "BLOCK", 512)
    monkeypatch.setattr(recall, "TARGETS", 200)
    yield scratch
    assert not list(scratch.iterdir())
