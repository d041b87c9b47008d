"""Mining with a graph of hnswlib: recall, exact scores, rules of a pool, what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.common.errors import (
    CancelledError,
    InvalidArgumentError,
    MismatchError,
    OutOfMemoryError,
    UnsupportedError,
)
from helip.mining import hnswlib_graph
from support.mining_reference import check_exact, cosines
from support.stage_samples import IMAGE, clustered_rows, files_of, write_store

pytest.importorskip("hnswlib")

CALL: dict[str, Any] = {
    "k": 10, "method": "hnsw", "graph": "hnswlib", "threads": 1, "progress": False,
}  # fmt: skip


def halves(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": values[:, :IMAGE], "text": values[:, IMAGE:]}


def mine(values: np.ndarray, **options: Any) -> helip.HardPairs:
    return helip.mine(**halves(values), **{**CALL, **options})


def test_the_recall_that_was_asked_for_is_reached_with_exact_scores() -> None:
    values = clustered_rows(2000)
    pairs = mine(values, recall=0.95)
    exact = helip.mine(
        **halves(values), k=10, method="exact", device="cpu", threads=1, progress=False
    )
    least = exact.scores[np.arange(2000), np.maximum(exact.counts - 1, 0)]
    hits = ((pairs.scores >= least[:, None]) & (pairs.ids >= 0)).sum(axis=1)
    some = exact.counts > 0
    recall = (hits[some] / exact.counts[some]).mean()
    said = pairs.report["recall"]
    assert recall >= 0.95
    assert said["low"] >= 0.95
    assert said["low"] - 0.01 <= recall <= said["high"] + 0.01
    assert said["targets"] >= 990

    own, rank = np.nonzero(pairs.ids >= 0)
    others = pairs.ids[own, rank]
    product = np.ones(len(own))
    for rows in (values[:, :IMAGE].astype(np.float64), values[:, IMAGE:].astype(np.float64)):
        product *= cosines(rows, rows)[own, others]
    np.testing.assert_allclose(pairs.scores[own, rank], product, atol=1e-7)
    assert (others != own).all()


def test_the_report_and_the_options_say_what_was_searched() -> None:
    pairs = mine(clustered_rows(300))
    assert pairs.report["graph"] == pairs.options["graph"] == "hnswlib"
    assert pairs.options["method"] == "hnsw"
    assert pairs.report["pairs"] == 300 * 299
    facts = pairs.report["hnswlib"]
    assert (facts["M"], facts["ef_construction"], facts["ef"]) == (16, 200, 64)
    assert facts["reached"]
    assert set(pairs.report["recall"]) == {"value", "low", "high", "targets", "confidence"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"image_max": 0.6, "text_max": 0.8},
        {"min_score": 0.3},
        {"margin": 0.05},
        {"skip": 3},
        {"signed": True},
        {"modality": "image"},
        {"modality": "text"},
    ],
    ids=str,
)
def test_every_rule_of_a_pool_is_that_of_the_brute_force(options: dict[str, Any]) -> None:
    values = clustered_rows(400)
    pairs = mine(values, recall=1.0, **options)  # of all targets, so that ef grows to all rows
    assert pairs.report["recall"]["low"] == 1
    check_exact(pairs, values[:, :IMAGE], values[:, IMAGE:], **options)
    exact = helip.mine(**halves(values), k=10, method="exact", device="cpu", **options)
    assert pairs.report["drops"] == exact.report["drops"]
    assert "text_max" not in options or exact.report["drops"]["text_duplicate"]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_rows_of_zeros_and_deleted_rows_of_a_store_never_appear(tmp_path: Path, dtype: str) -> None:
    store = write_store(tmp_path / "s", clustered_rows(400), dtype)
    with helip.EmbeddingStore.append_to(store.path) as writer:
        writer.delete([0, 40, 41, 200])
    store = helip.EmbeddingStore.open(store.path)
    pairs = helip.mine(store, **CALL, recall=1.0)
    gone = [0, 40, 41, 200, 3, 399]
    assert not np.isin(pairs.ids, gone).any()
    assert (pairs.counts[gone] == 0).all()
    exact = helip.mine(store, k=10, method="exact", device="cpu", progress=False)
    np.testing.assert_array_equal(pairs.ids, exact.ids)
    np.testing.assert_array_equal(pairs.scores, exact.scores)
    assert pairs.fingerprint == store.fingerprint
    assert pairs.data_fingerprint == store.data_fingerprint


def test_deleted_rows_take_no_place_among_the_nearest(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows(1000), "float32")
    with helip.EmbeddingStore.append_to(store.path) as writer:
        writer.delete([row for row in range(1000) if row % 20])
    pairs = helip.mine(helip.EmbeddingStore.open(store.path), **CALL, recall=1.0)
    assert pairs.report["hnswlib"]["ef"] <= 64  # else the 50 rows are rare among those found
    assert pairs.report["recall"]["value"] == 1.0


def test_no_rows_give_an_empty_table() -> None:
    pairs = mine(clustered_rows(20)[:0], k=3)
    assert pairs.ids.shape == (0, 3)
    assert pairs.report["hnswlib"]["reached"]


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_tiny_data_sets_are_legal(rows: int) -> None:
    values = clustered_rows(20)[8 : 8 + rows]
    check_exact(mine(values, k=3), values[:, :IMAGE], values[:, IMAGE:])


def test_one_thread_gives_the_same_bytes_whatever_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = write_store(tmp_path / "s", clustered_rows(1100))
    helip.mine(store, **CALL, out=tmp_path / "a")
    helip.mine(store, **CALL, out=tmp_path / "b", memory="1.5MB")
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    monkeypatch.setattr(hnswlib_graph, "_PLACES", 64 * 100)
    helip.mine(store, **CALL, out=tmp_path / "c")
    assert files_of(tmp_path / "a") == files_of(tmp_path / "c")


def test_several_threads_reach_the_recall_as_well() -> None:
    assert mine(clustered_rows(1100), threads=2).report["recall"]["low"] >= 0.95


def islands() -> np.ndarray:
    """Groups of equal rows, between which a graph has few links or none."""
    return np.repeat(np.random.default_rng(0).normal(size=(8, 2 * IMAGE)), 60, axis=0)


def test_ef_is_doubled_while_the_recall_falls_short_and_no_further_than_its_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hnswlib_graph, "_M", 4)
    monkeypatch.setattr(hnswlib_graph, "_EF_CONSTRUCTION", 8)
    monkeypatch.setattr(hnswlib_graph, "_FIRST_EF", 20)
    monkeypatch.setattr(hnswlib_graph, "_MOST_EF", 160)
    values = np.random.default_rng(1).normal(size=(1000, 2 * IMAGE))
    little = mine(values, recall=0.3)
    assert little.report["hnswlib"]["ef"] == 20
    with pytest.warns(
        UserWarning, match=r"graph of hnswlib .* below recall = 1.0, at ef 160; ask for less"
    ):
        more = mine(values, recall=1.0)
    assert more.report["hnswlib"]["ef"] == 160
    assert not more.report["hnswlib"]["reached"]
    assert more.report["recall"]["value"] > little.report["recall"]["value"] > 0.3


def test_what_a_search_cannot_reach_makes_the_pools_smaller_and_the_recall_says_so() -> None:
    values = islands()
    options = {"k": 100, "image_max": 1.0, "text_max": 1.0, "recall": 0.0}
    pairs = mine(values, **options)
    exact = helip.mine(
        **halves(values), k=100, method="exact", device="cpu", progress=False,
        image_max=1.0, text_max=1.0,
    )  # fmt: skip
    assert (pairs.counts <= exact.counts).all()
    at = np.maximum(exact.counts - 1, 0)
    least = exact.scores[np.arange(len(values)), at]
    hits = ((pairs.scores >= least[:, None]) & (pairs.ids >= 0)).sum(axis=1)
    share = np.minimum(hits, exact.counts) / exact.counts
    assert pairs.report["recall"]["value"] == pytest.approx(share.mean())


class Narrow:
    """An index whose searches reach 5 rows for vectors that begin with 1, else as many as asked."""

    def knn_query(self, vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if k > 5 and (vectors[:, 0] == 1).any():
            raise RuntimeError("Cannot return the results in a contiguous 2D array.")
        return np.tile(np.arange(k, dtype=np.uint64), (len(vectors), 1)), np.zeros(0)


def test_a_row_that_reaches_few_others_takes_none_from_the_rest_of_its_block() -> None:
    graph: Any = object.__new__(hnswlib_graph._Graph)
    graph._index = Narrow()
    found = graph._closest(np.array([[0], [0], [1], [0], [0]]), 16)
    assert (found[[0, 1, 3, 4]] == np.arange(16)).all()
    assert found[2].tolist() == [0, 1, 2, 3, *[-1] * 12]


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"method": "auto"}, InvalidArgumentError, "method is 'auto'; a graph is of method 'hnsw'"),
    ({"method": "exact"}, InvalidArgumentError, "method is 'exact'; a graph is of method"),
    ({"method": "partition"}, InvalidArgumentError, "method is 'partition'; a graph is of"),
    ({"collapse": "both"}, UnsupportedError, "collapse is 'both', which looks for groups"),
    ({"part": (1, 2)}, UnsupportedError, r"part is \(1, 2\) and graph 'hnswlib'"),
    ({"parts": 2}, UnsupportedError, "parts is 2 and graph 'hnswlib'.*drop parts="),
    ({"engine": "ray"}, UnsupportedError, "engine is 'ray' and graph 'hnswlib'"),
    ({"checkpoint": 5.0}, UnsupportedError, "checkpoint is 5.0 and graph 'hnswlib'"),
    ({"device": "cuda"}, UnsupportedError, "device is 'cuda'; a graph of hnswlib"),
    ({"cluster_rows": 100}, InvalidArgumentError, "cluster_rows is 100 and method 'hnsw'"),
    ({"graph": "faiss"}, InvalidArgumentError, "graph is 'faiss', must be one of 'own'"),
]


@pytest.mark.parametrize(
    ("options", "error", "message"), REFUSED, ids=[str(each[0]) for each in REFUSED]
)
def test_what_it_does_not_know_is_refused(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    store = write_store(tmp_path / "s", clustered_rows(200))
    with pytest.raises(error, match=message):
        helip.mine(store, **{**CALL, "out": tmp_path / "p", **options})
    assert not (tmp_path / "p").exists()


def test_no_checkpoint_may_be_asked_for() -> None:
    assert len(mine(clustered_rows(200), checkpoint=float("inf"))) == 200


def test_an_absent_package_is_named_with_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with pytest.raises(UnsupportedError, match=r"which is absent .*; pip install hnswlib"):
        mine(clustered_rows(200))


def test_a_graph_that_does_not_fit_the_memory_is_refused_with_what_it_takes() -> None:
    with pytest.raises(OutOfMemoryError, match=r"bytes in hnswlib, more than memory = 100000"):
        mine(clustered_rows(500), memory=100_000)


def test_nan_is_refused_with_its_row() -> None:
    values = clustered_rows(200)
    values[17, 2] = np.nan
    with pytest.raises(InvalidArgumentError, match=r"image.*row 17"):
        mine(values)


def test_a_margin_between_two_models_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows(200))
    with helip.EmbeddingStore.append_to(store.path) as writer:
        writer.commit({"image_encoder": "timm:vit", "text_encoder": "st:mpnet"})
    with pytest.raises(InvalidArgumentError, match="images by timm:vit"):
        helip.mine(store.path, **CALL, margin=0.1)


def test_a_table_of_another_graph_is_not_the_answer(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows(300))
    helip.mine(store, **CALL, out=tmp_path / "theirs")
    own = {name: value for name, value in CALL.items() if name != "graph"}
    pairs = helip.mine(store, **own, out=tmp_path / "own")
    assert "graph" not in pairs.options
    assert "graph" not in pairs.report
    before = files_of(tmp_path / "theirs")
    helip.mine(store, **CALL, out=tmp_path / "theirs")
    assert files_of(tmp_path / "theirs") == before
    helip.mine(store, **own, graph="own", out=tmp_path / "own")
    with pytest.raises(MismatchError, match="graph 'hnswlib', now 'own'"):
        helip.mine(store, **own, out=tmp_path / "theirs")
    with pytest.raises(MismatchError, match="graph 'own', now 'hnswlib'"):
        helip.mine(store, **CALL, out=tmp_path / "own")


def test_a_job_that_was_begun_with_the_own_graph_is_not_gone_on_with(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows(300))
    (tmp_path / "p.checkpoint").mkdir()
    (tmp_path / "p.checkpoint" / "manifest.json").write_text("{}")
    with pytest.raises(MismatchError, match=r"p\.checkpoint holds a job that was begun without"):
        helip.mine(store, **CALL, out=tmp_path / "p")


def test_its_table_cannot_be_updated(tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", clustered_rows(300))
    helip.mine(store, **CALL, out=tmp_path / "p")
    with pytest.raises(UnsupportedError, match="hnsw"):
        helip.update(tmp_path / "p", store, progress=False)


@pytest.mark.parametrize("stage", ["measure", "build", "tune", "mine"])
def test_progress_is_told_by_stage_and_stops_the_job_without_a_trace(
    tmp_path: Path, stage: str
) -> None:
    store = write_store(tmp_path / "s", clustered_rows(300))
    told: list[str] = []

    def on_progress(now: str, done: int, total: int) -> bool:
        told.append(now)
        assert 0 <= done <= total
        return now != stage

    with pytest.raises(CancelledError):
        helip.mine(store, **CALL, out=tmp_path / "p", on_progress=on_progress)
    assert told[-1] == stage
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]
