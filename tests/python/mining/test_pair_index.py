"""PairIndex against a plain float64 search, and what it refuses."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helip
from helip.common.errors import (
    CorruptError,
    Error,
    InvalidArgumentError,
    MismatchError,
    StorageError,
)
from helip.mining.pair_index import PairIndex

ROWS, QUERIES, K = 2000, 200, 10


def clustered(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 rows in 60 clusters that both modalities share, 40 and 24 dimensions."""
    random = np.random.default_rng(5)
    member = random.integers(0, 60, rows)
    parts = []
    for dimensions in (40, 24):
        centres = random.normal(size=(60, dimensions))
        parts.append(centres[member] + 0.8 * random.normal(size=(rows, dimensions)))
    return parts[0].astype(np.float32), parts[1].astype(np.float32)


def test_a_pair_is_removed_replaced_and_added_again(data: tuple[np.ndarray, np.ndarray]) -> None:
    index = build(data)
    before, _ = ask(index, data)
    gone = np.unique(before[:, 0])
    index.remove(gone)
    assert len(index) == ROWS - len(gone)
    assert not np.isin(gone, ask(index, data)[0]).any()
    with pytest.raises(
        InvalidArgumentError, match=f"id {gone[0]}, number 0 .* is not in the index"
    ):
        index.remove(gone[:1])
    index.add(image=data[0][gone], text=data[1][gone], ids=gone)
    assert (ask(index, data)[0][:, 0] == before[:, 0]).mean() > 0.98
    others = np.setdiff1d(np.arange(ROWS), gone)[: len(gone)]
    index.replace(image=data[0][others], text=data[1][others], ids=gone)
    assert len(index) == ROWS
    assert not np.isin(gone, ask(index, data)[0][:, 0]).all()
    with pytest.raises(InvalidArgumentError, match=f"id {ROWS}, number 0 .* is not in the index"):
        index.replace(image=data[0][:1], text=data[1][:1], ids=[ROWS])


def test_ids_are_left_out_or_alone_allowed(index: PairIndex, data: Any) -> None:
    before, _ = ask(index, data)
    first = np.unique(before[:, 0])
    assert not np.isin(ask(index, data, without=first)[0], first).any()
    among, _ = ask(index, data, among=first)
    assert np.isin(among, first).all()
    assert (among[:, 0] == before[:, 0]).mean() > 0.98
    near, scores = index.near(before[:5, 0], k=3, without=[before[0, 1]])
    assert near.shape == scores.shape == (5, 3) and not (near == before[0, 1]).any()
    with pytest.raises(InvalidArgumentError, match="pass among= or without=, not both"):
        ask(index, data, among=[1], without=[2])


def test_a_filter_of_another_region_than_the_query_misses_nothing() -> None:
    random = np.random.default_rng(1)
    centres = random.normal(size=(2, 16)) + 1.0  # alike enough that scores are above zero
    parts = [
        np.concatenate([each + 0.3 * random.normal(size=(6000, 16)) for each in centres])
        for _ in range(2)
    ]
    image, text = (part.astype(np.float16) for part in parts)
    index = PairIndex.build(image=image, text=text, progress=False)
    other = np.arange(6000, 12000)
    found, _ = index.query(image=image[:20], text=text[:20], k=K, among=other)
    near = [
        part[:20].astype(np.float64)
        @ (part[other] / np.linalg.norm(part[other], axis=1)[:, None]).T
        for part in (image.astype(np.float64), text.astype(np.float64))
    ]
    scores = np.clip(near[0], 0, None) * np.clip(near[1], 0, None)
    exact = np.argsort(-scores, axis=1)[:, :K] + 6000
    exact[np.take_along_axis(scores, exact - 6000, 1) <= 0] = -1
    assert (exact >= 0).all()
    assert (np.sort(found) == np.sort(exact)).all()


def test_near_duplicates_close_to_the_limit_take_no_place() -> None:
    """Codes do not tell a cosine of 0.985 from the limit of 0.98."""
    random = np.random.default_rng(0)

    def around(query: np.ndarray, cosine: np.ndarray) -> np.ndarray:
        apart = random.normal(size=(len(cosine), 64))
        apart -= (apart @ query)[:, None] * query
        apart /= np.linalg.norm(apart, axis=1)[:, None]
        cosine = cosine[:, None]
        return (cosine * query + np.sqrt(1 - cosine**2) * apart).astype(np.float32)

    queries = [each / np.linalg.norm(each) for each in random.normal(size=(2, 64))]
    cosines = np.concatenate([np.full(100, 0.985), np.linspace(0.9, 0.4, 500)])
    image, text = (around(each, cosines) for each in queries)
    asked = [each[None].astype(np.float32) for each in queries]
    index = PairIndex.build(image=image, text=text, progress=False)
    ids, _ = index.query(image=asked[0], text=asked[1], k=K)
    miner = helip.StreamingMiner(memory=1000, k=K, search="hnsw")
    miner.remember(np.arange(600), image, text)
    found = miner.add([5000], *asked)
    scan = helip.StreamingMiner(memory=1000, k=K)
    scan.remember(np.arange(600), image, text)
    assert found.ids.tolist() == scan.add([5000], *asked).ids.tolist()
    assert len(np.intersect1d(ids, found.ids)) >= K - 1  # the rows of an index are float16
    assert (ids >= 100).all()


def test_a_limit_of_one_leaves_no_pair_out() -> None:
    """Of few dimensions the codes of equal rows may have a cosine of more than 1.01."""
    image = np.float16([[-1, -1, -1, 1, 1, 1, -1, -1, 1, 1, 1, -1]])
    text, other = np.float16([[2, -1, 0, 0]]), np.float16([[1, -1, 2, -2]])
    index = PairIndex.build(image=image, text=text, image_max=1.0, progress=False)
    ids, scores = index.query(image=image, text=other, k=1)
    assert ids.tolist() == [[0]]
    assert scores[0, 0] == np.float32(3 / np.sqrt(50))


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    image, text = clustered(ROWS + QUERIES)
    return image, text


@pytest.fixture(scope="module")
def index(data: tuple[np.ndarray, np.ndarray]) -> PairIndex:
    return build(data)


def build(data: tuple[np.ndarray, np.ndarray], rows: int = ROWS, **options: Any) -> PairIndex:
    return PairIndex.build(image=data[0][:rows], text=data[1][:rows], progress=False, **options)


def ask(index: PairIndex, data: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    return index.query(image=data[0][ROWS:], text=data[1][ROWS:], **{"k": K} | options)


def plain(data: tuple[np.ndarray, np.ndarray], rows: int = ROWS) -> np.ndarray:
    """Scores of the queries with the first rows, float64; near duplicates have 0."""
    parts = []
    for part in data:
        unit = part.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        cosine = np.clip(unit[ROWS:] @ unit[:rows].T, 0, None)
        cosine[cosine > 0.98] = 0
        parts.append(cosine)
    return parts[0] * parts[1]


def recall(found: np.ndarray, scores: np.ndarray, k: int = K) -> float:
    exact = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    return float(np.mean(hits)) / k


def test_new_pairs_get_the_hard_pairs_of_a_plain_search(index: PairIndex, data: Any) -> None:
    ids, scores = ask(index, data)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    assert ids.shape == scores.shape == (QUERIES, K)
    exact = plain(data)
    assert recall(ids, exact) > 0.98
    assert (np.diff(scores) <= 0).all()
    np.testing.assert_allclose(scores, np.take_along_axis(exact, ids, 1), atol=5e-4)
    assert len(index) == ROWS
    assert repr(index).startswith("PairIndex(2000 pairs, ")
    assert index.nbytes > 0


@pytest.fixture(scope="module")
def scattered() -> PairIndex:
    """Of 6,000 rows at random, which no search by links finds well."""
    random = np.random.default_rng(3)
    image, text = (random.normal(size=(6000, d)).astype(np.float16) for d in (128, 96))
    with pytest.warns(UserWarning, match="recall@10") as told:
        index = PairIndex.build(image=image, text=text, progress=False)
    assert len(told) == 1
    assert told[0].filename == __file__
    return index


def test_a_low_recall_is_said_with_what_raises_it(scattered: PairIndex, tmp_path: Path) -> None:
    low = scattered.recall()
    assert low < 0.9 < scattered.recall(breadth=400) < scattered.recall(breadth=6000) == 1.0
    assert scattered.recall(200, k=1) != low
    scattered.save(tmp_path / "index")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert PairIndex.open(tmp_path / "index").recall() == low
    with pytest.warns(UserWarning, match=rf"is {low:.2f} .* below 0\.9; .* breadth=") as told:
        PairIndex.open(tmp_path / "index", recall_sample=64)
    assert len(told) == 1
    assert told[0].filename == __file__


def test_a_good_recall_is_not_worth_a_word(data: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index = build(data)
        index.remove(np.arange(500))  # not missed
        assert index.recall() > 0.97
        assert build(data, 0).recall() == 1.0
    with pytest.raises(InvalidArgumentError, match="recall_sample is 0"):
        build(data, recall_sample=0)
    with pytest.raises(InvalidArgumentError, match="sample is 0"):
        index.recall(0)


def test_matches_are_those_that_the_page_defines() -> None:
    """Of few dimensions, so that a quarter of the pairs have two negative cosines."""
    random = np.random.default_rng(2)
    parts = [random.normal(size=(400, d)).astype(np.float16) for d in (4, 3)]
    for part in parts:
        part[40:60] = part[20:40]  # of equal scores the least id comes first
        part[7] = 0
    unit = [part.astype(np.float64) for part in parts]
    for part in unit:
        part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9)
    cosines = [part[300:] @ part[:300].T for part in unit]
    both_negative = (cosines[0] < 0) & (cosines[1] < 0)
    assert both_negative.mean() > 0.2
    limits = {"image_max": 0.9, "text_max": 0.95}
    score = np.maximum(cosines[0], 0) * np.maximum(cosines[1], 0)
    score[(cosines[0] > limits["image_max"]) | (cosines[1] > limits["text_max"])] = 0
    index = build((parts[0], parts[1]), 300, **limits)
    ids, scores = index.query(image=parts[0][300:], text=parts[1][300:], k=300)
    for found, given, row in zip(ids, scores, score, strict=True):
        order = np.argsort(-row.round(12), kind="stable")[: (row > 0).sum()]
        assert found[: len(order)].tolist() == order.tolist()
        np.testing.assert_allclose(given[: len(order)], row[order], rtol=1e-6)
        assert (found[len(order) :] == -1).all() and (given[len(order) :] == 0).all()


def test_a_store_gives_the_index_of_its_rows(tmp_path: Path, data: Any) -> None:
    writer = helip.EmbeddingStore.create(
        tmp_path / "s", image_dim=data[0].shape[1], text_dim=data[1].shape[1]
    )
    with writer:
        writer.append([str(i) for i in range(ROWS)], data[0][:ROWS], data[1][:ROWS])
        writer.delete([5, 6])
    index = PairIndex.build(tmp_path / "s", progress=False)
    ids, _ = ask(index, data, k=500)
    assert not np.isin(ids, [5, 6]).any()
    exact = plain(data)
    exact[:, [5, 6]] = 0
    assert recall(ask(index, data)[0], exact) > 0.98


def test_tensors_are_taken_as_arrays_are(index: PairIndex, data: Any) -> None:
    tensors = tuple(torch.from_numpy(part) for part in data)
    for a, b in zip(ask(index, tensors), ask(index, data), strict=True):
        np.testing.assert_array_equal(a, b)
    short = PairIndex.build(
        image=tensors[0][:100].bfloat16(), text=tensors[1][:100].half(),
        ids=torch.arange(100, 200), progress=False,
    )  # fmt: skip
    assert ask(short, data)[0].min() >= 100


def test_threads_change_nothing(index: PairIndex, data: Any, tmp_path: Path) -> None:
    build(data, threads=1).save(tmp_path / "one")
    build(data, threads=3).save(tmp_path / "three")
    for one in (tmp_path / "one").iterdir():
        assert one.read_bytes() == (tmp_path / "three" / one.name).read_bytes()
    for a, b in zip(ask(index, data, threads=1), ask(index, data, threads=4), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_saved_index_opens_as_it_was(index: PairIndex, data: Any, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    opened = PairIndex.open(tmp_path / "index")
    assert len(opened) == ROWS
    assert (opened.image_dim, opened.text_dim) == (index.image_dim, index.text_dim)
    assert opened.options == index.options
    for a, b in zip(ask(opened, data), ask(index, data), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(InvalidArgumentError):
        index.save(tmp_path / "index")


def test_damage_of_every_file_is_refused(index: PairIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    files = [path for path in (tmp_path / "index").iterdir() if path.name != ".lock"]
    assert len(files) == 2
    for path in files:
        whole = path.read_bytes()
        for at in (0, len(whole) // 3, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(CorruptError):
                PairIndex.open(tmp_path / "index")
            path.write_bytes(whole[:at])
            with pytest.raises(CorruptError):
                PairIndex.open(tmp_path / "index")
        path.unlink()
        with pytest.raises(Error):
            PairIndex.open(tmp_path / "index")
        path.write_bytes(whole)
    PairIndex.open(tmp_path / "index")


def test_something_else_is_no_index(data: Any, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no manifest"):
        PairIndex.open(tmp_path)
    helip.mine(image=data[0], text=data[1], k=3, out=tmp_path / "t", device="cpu", progress=False)
    with pytest.raises(MismatchError, match=r"is a helip\.hard_pairs"):
        PairIndex.open(tmp_path / "t")


def test_added_pairs_are_found(data: Any, tmp_path: Path) -> None:
    index = build(data, 300)
    index.add(image=data[0][300:301], text=data[1][300:301])
    index.add(image=data[0][301:ROWS], text=data[1][301:ROWS], threads=2)
    assert len(index) == ROWS
    exact = plain(data)
    assert recall(ask(index, data)[0], exact) > 0.98
    index.save(tmp_path / "index")
    opened = PairIndex.open(tmp_path / "index")
    opened.add(image=data[0][ROWS:], text=data[1][ROWS:], ids=np.arange(10**6, 10**6 + QUERIES))
    ids, _ = opened.query(image=data[0][:50], text=data[1][:50], k=300, breadth=600)
    assert (ids >= 10**6).any()
    assert len(opened) == ROWS + QUERIES


def test_queries_run_while_pairs_are_added(data: Any) -> None:
    index = build(data, 1000)
    wrong: list[str] = []

    def query() -> None:
        for _ in range(20):
            ids, scores = ask(index, data, threads=1)
            if ids.max() >= ROWS or (np.diff(scores) > 0).any():
                wrong.append("a wrong match")

    threads = [threading.Thread(target=query) for _ in range(3)]
    for thread in threads:
        thread.start()
    for first in range(1000, ROWS, 100):
        part = slice(first, first + 100)
        index.add(image=data[0][part], text=data[1][part], threads=1)
    for thread in threads:
        thread.join()
    assert not wrong
    assert recall(ask(index, data)[0], plain(data)) > 0.98


@pytest.mark.parametrize("k", [1, 64, 3000])
def test_k_may_be_one_or_more_than_there_is(index: PairIndex, data: Any, k: int) -> None:
    ids, scores = ask(index, data, k=k)
    assert ids.shape == (QUERIES, k)
    assert (scores[ids < 0] == 0).all()
    assert recall(ids[:, :1], plain(data), 1) > 0.98
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in ids)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i, u, v: i.query(image=u, text=v, k=0), "k is 0"),
        (lambda i, u, v: i.query(image=u, text=v, k=1.5), "k is 1.5, must be a whole number"),
        (lambda i, u, v: i.query(image=u, text=v, breadth=5), "breadth is 5, but must lie in 10"),
        (lambda i, u, v: i.query(image=u, text=v, k=2**70), r"k is \d+, must be below"),
        (lambda i, u, v: i.query(image=u, text=v, breadth=2**63), r"breadth is \d+, must be below"),
        (lambda i, u, v: i.query(image=u, text=v, threads=-1), "threads is -1"),
        (lambda i, u, v: i.query(image=u, text=v, threads=2**31), r"threads is \d+, must be below"),
        (lambda i, u, v: i.add(image=u, text=v, threads="2"), "threads is '2', must be a whole"),
        (lambda i, u, v: i.query(image=u, text=None), "text is missing"),
        (lambda i, u, v: i.query(image=u, text=v[:2]), "image has 200 rows and text 2"),
        (lambda i, u, v: i.query(image=u[:, :7], text=v), "image embeddings have 7 dimensions"),
        (lambda i, u, v: i.query(image=u[0], text=v[0]), "must have 2 dimensions"),
        (lambda i, u, v: i.add(image=u, text=v[:, :3]), "text embeddings have 3 dimensions"),
        (lambda i, u, v: i.add(image=u, text=v, ids=[1, 2]), "2 ids were given for 200 pairs"),
        (lambda i, u, v: i.add(image=u[:2], text=v[:2], ids=[7, 9000]), "id 7 of row 0 is in the"),
        (lambda i, u, v: i.add(image=u[:2], text=v[:2], ids=[-1, 3]), "id -1 of row 0 is negative"),
        (lambda i, u, v: PairIndex.build(image=u[:2], text=v[:2], ids=[4, 4]), "id 4 is that of"),
        (lambda i, u, v: PairIndex.build(image=u[:2], text=v[:2], ids=[0.5, 4]), "whole numbers"),
        (lambda i, u, v: PairIndex.build(image=u, text=v, text_max=-1), "text_max is -1"),
        (lambda i, u, v: PairIndex.build(image=u, text=v, degree=1), "degree is 1"),
        (lambda i, u, v: PairIndex.build("s", image=u, text=v), "not both"),
        (lambda i, u, v: PairIndex.build(), "image is missing"),
    ],
)
def test_what_cannot_be_is_refused(
    index: PairIndex, data: Any, call: Callable[..., Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        call(index, data[0][ROWS:], data[1][ROWS:])
    assert len(index) == ROWS


def test_a_row_that_holds_a_nan_is_named(index: PairIndex, data: Any) -> None:
    bad = data[1][ROWS:].copy()
    bad[17, 2] = np.nan
    bad[90, 0] = np.inf
    for call in (index.query, index.add, PairIndex.build):
        with pytest.raises(InvalidArgumentError, match="text embedding of row 17 holds a NaN"):
            call(image=data[0][ROWS:], text=bad)  # type: ignore[operator]
    assert len(index) == ROWS
