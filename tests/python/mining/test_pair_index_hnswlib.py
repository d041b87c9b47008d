"""An index of pairs as a file of hnswlib, in both directions, with the package itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.mining.pair_index import PairIndex

hnswlib = pytest.importorskip("hnswlib")

ROWS, QUERIES, IMAGE, TEXT, K = 2000, 200, 40, 24, 10


@pytest.fixture(scope="module")
def pairs() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    member = random.integers(0, 60, ROWS)
    centres = random.normal(size=(60, IMAGE + TEXT))
    both = centres[member] + 0.8 * random.normal(size=(ROWS, IMAGE + TEXT))
    return both[:, :IMAGE].astype(np.float32), both[:, IMAGE:].astype(np.float32)


def joined(pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """[u; v] / sqrt(2)."""
    units = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in pairs]
    return (np.concatenate(units, axis=1) / np.sqrt(2)).astype(np.float32)


def recall(found: np.ndarray, exact: np.ndarray) -> float:
    hits = [len(set(a) & set(b)) for a, b in zip(found.tolist(), exact.tolist(), strict=True)]
    return sum(hits) / exact.size


def test_hnswlib_opens_what_was_saved(pairs: Any, tmp_path: Path) -> None:
    ids = np.arange(ROWS) + 5000
    index = PairIndex.build(image=pairs[0], text=pairs[1], ids=ids, progress=False)
    index.save_hnswlib(tmp_path / "pairs.bin")
    loaded = hnswlib.Index("ip", IMAGE + TEXT)
    loaded.load_index(str(tmp_path / "pairs.bin"), max_elements=ROWS + 10)
    vectors = joined(pairs)
    assert loaded.get_current_count() == ROWS
    assert sorted(loaded.get_ids_list()) == ids.tolist()
    np.testing.assert_allclose(loaded.get_items(ids[:50]), vectors[:50], atol=5e-4)
    loaded.set_ef(100)
    labels, distances = loaded.knn_query(vectors[:QUERIES], K)
    products = vectors[:QUERIES].astype(np.float64) @ vectors.T
    exact = np.argsort(-products, axis=1)[:, :K]
    assert recall(labels, exact + 5000) > 0.98
    expected = 1 - np.take_along_axis(products, labels.astype(np.int64) - 5000, axis=1)
    np.testing.assert_allclose(distances, expected, atol=5e-4)
    loaded.add_items(vectors[:5], np.arange(5))  # which walks and changes the links
    assert loaded.knn_query(vectors[:1], 2)[0].tolist() != []


def test_what_hnswlib_saved_is_opened(pairs: Any, tmp_path: Path) -> None:
    ids = np.arange(ROWS)[::-1] + 7
    theirs = hnswlib.Index("ip", IMAGE + TEXT)
    theirs.init_index(ROWS + 100, M=16, ef_construction=150, random_seed=3)
    theirs.add_items(joined(pairs), ids, num_threads=1)
    theirs.save_index(str(tmp_path / "theirs.bin"))
    opened = PairIndex.open_hnswlib(tmp_path / "theirs.bin", IMAGE, image_max=0.9)
    assert (len(opened), opened.image_dim, opened.text_dim) == (ROWS, IMAGE, TEXT)
    assert opened.options["image_max"] == 0.9
    own = PairIndex.build(
        image=pairs[0], text=pairs[1], ids=ids, image_max=0.9, breadth=200, progress=False
    )
    asked = {"image": pairs[0][:QUERIES], "text": pairs[1][:QUERIES], "k": K, "breadth": 150}
    found, scores = opened.query(**asked)
    expected, expected_scores = own.query(**asked)
    assert recall(found, expected) > 0.98
    same = found == expected
    np.testing.assert_allclose(scores[same], expected_scores[same], atol=1e-4)
    opened.add(image=pairs[0][:3], text=pairs[1][:3])
    assert len(opened) == ROWS + 3


def test_what_was_removed_has_no_label_that_another_has(pairs: Any, tmp_path: Path) -> None:
    index = PairIndex.build(image=pairs[0][:50], text=pairs[1][:50], progress=False)
    index.remove([3])
    index.replace(image=pairs[0][60:61], text=pairs[1][60:61], ids=[40])  # in the row of 3
    index.save_hnswlib(tmp_path / "a.bin")
    theirs = hnswlib.Index("ip", IMAGE + TEXT)
    theirs.load_index(str(tmp_path / "a.bin"))
    given = np.concatenate(theirs.get_items([40]))
    np.testing.assert_allclose(given, joined(pairs)[60], atol=2e-3)
    theirs.mark_deleted(40)
    assert len(PairIndex.open_hnswlib(tmp_path / "a.bin", IMAGE)) == 49


def test_deleted_elements_are_left_out_other_vectors_refused(pairs: Any, tmp_path: Path) -> None:
    vectors = joined(pairs)[:50]
    theirs = hnswlib.Index("ip", IMAGE + TEXT)
    theirs.init_index(50)
    theirs.add_items(vectors, num_threads=1)  # else elements are in any order
    theirs.mark_deleted(7)
    theirs.save_index(str(tmp_path / "a.bin"))
    opened = PairIndex.open_hnswlib(tmp_path / "a.bin", IMAGE)
    assert len(opened) == 49
    assert 7 not in opened.query(image=pairs[0][:50], text=pairs[1][:50], k=49)[0]
    other = hnswlib.Index("ip", IMAGE + TEXT)
    other.init_index(50)
    other.add_items(vectors * 3)
    other.save_index(str(tmp_path / "b.bin"))
    with pytest.raises(helip.InvalidArgumentError, match="image half of element 0"):
        PairIndex.open_hnswlib(tmp_path / "b.bin", IMAGE)
    for wrong in (0, 2**70):
        with pytest.raises(helip.InvalidArgumentError, match=f"image_dim is {wrong}, must be"):
            PairIndex.open_hnswlib(tmp_path / "b.bin", wrong)
    with pytest.raises(helip.StorageError, match="absent"):
        PairIndex.open_hnswlib(tmp_path / "absent", IMAGE)
