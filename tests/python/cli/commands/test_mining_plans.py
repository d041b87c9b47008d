"""helip plan of an update, and of a graph of hnswlib."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import helip

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def grown(store: Path, tmp_path: Path) -> Path:
    """The store with five rows more than the tables ``exact`` and ``partition`` have."""
    for method in ("exact", "partition"):
        helip.mine(store, k=4, method=method, device="cpu", out=tmp_path / method, progress=False)
    rows = np.random.default_rng(1).normal(size=(5, 14)) + 0.4
    with helip.EmbeddingStore.append_to(store) as writer:
        writer.append([f"n{i}" for i in range(5)], rows[:, :8], rows[:, 8:])
        writer.delete([2])
    return store


def test_the_update_of_a_table_of_partition_is_planned_in_stages(
    run: Run, grown: Path, tmp_path: Path
) -> None:
    call = ("plan", grown, "--update", tmp_path / "partition", "--threads", 2)
    code, out, err = run(*call, "--engine", "local")
    assert code == 0, err
    assert "5 rows are new, 1 deleted, 0 embedded again; " in out.splitlines()[0]
    assert "1 centres, 1 certify, 1 route, " in out
    assert (
        f"helip update {tmp_path / 'partition'} --store {grown} --threads 2 --engine local" in err
    )
    code, out, err = run(*call, "--json")
    planned = json.loads(out)
    assert (code, planned["update"]["added"], planned["alternatives"]) == (0, 5, [])
    code, _, err = run(*call, "-k", 3)
    assert (code, "a table is updated with what it was mined with" in err) == (2, True), err


def test_the_update_of_an_exact_table_is_planned_in_one_process(
    run: Run, grown: Path, tmp_path: Path
) -> None:
    code, out, err = run("plan", grown, "--update", tmp_path / "exact", "--threads", 2)
    assert code == 0, err
    assert "exact (an update, in one process)" in out
    assert err.rstrip().endswith(f"helip update {tmp_path / 'exact'} --store {grown} --threads 2")


def test_a_table_that_is_up_to_date_has_no_next_step(run: Run, store: Path, tmp_path: Path) -> None:
    helip.mine(store, k=4, method="exact", device="cpu", out=tmp_path / "exact", progress=False)
    code, out, err = run("plan", store, "--update", tmp_path / "exact", "--threads", 2)
    assert code == 0, err
    assert "0 rows are new, 0 deleted, 0 embedded again" in out
    assert "next:" not in err


def test_a_graph_of_hnswlib_is_planned(run: Run, store: Path) -> None:
    pytest.importorskip("hnswlib", reason="hnswlib is of the extra hnswlib")
    code, out, err = run("plan", store, "-k", 4, "--method", "hnsw", "--graph", "hnswlib")
    assert code == 0, err
    assert "hnsw (a graph of hnswlib, searched with ef 60)" in out and "updates" in out
    assert "--method hnsw --graph hnswlib" in err
    code, _, err = run("plan", store, "--graph", "hnswlib")
    assert (code, "graph is 'hnswlib' and method is 'auto'" in err) == (2, True), err
