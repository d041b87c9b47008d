"""Joining two tables: against plain dictionaries, and what is refused and counted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import helip
from helip import HardPairs
from helip.common.errors import InvalidArgumentError, MismatchError, StorageError, UnsupportedError
from helip.pairs.joining import join_pools
from support.pair_samples import TABLE_ROWS as ROWS
from support.pair_samples import random_table as table


def reference(a: HardPairs, b: HardPairs, target: int, k: int) -> list[tuple[int, float]]:
    best: dict[int, float] = {}
    for pool in (a[target], b[target]):
        for row, score in zip(pool.ids.tolist(), pool.scores.tolist(), strict=True):
            best[row] = max(score, best.get(row, -np.inf))
    return sorted(best.items(), key=lambda pair: (-pair[1], pair[0]))[:k]


@pytest.mark.parametrize("k", [None, 1, 5, 21])
@pytest.mark.parametrize("block", [1, 21 * 7, 1 << 20])
def test_a_pool_is_the_best_of_both_with_duplicates_once(
    k: int | None, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("helip.pairs.blocks._PLACES", block)
    a, b = table(12, 0), table(9, 1)
    both = a.join(b, k=k, progress=False)
    assert both.k == (k or 12)
    different = 0
    for target in range(ROWS):
        pool = both[target]
        found = list(zip(pool.ids.tolist(), pool.scores.tolist(), strict=True))
        assert found == reference(a, b, target, both.k)
        different += len(reference(a, b, target, 21))
    counts = both.report["join"]
    pairs, left = int(a.counts.sum() + b.counts.sum()), int(both.counts.sum())
    assert counts["pairs"] == pairs
    assert counts["duplicates"] == pairs - different > 0
    assert (counts["cut"], counts["left"]) == (different - left, left)


@pytest.mark.parametrize("large", [0, 2**31])
def test_large_row_numbers_give_the_same_pools(large: int) -> None:
    a, b = table(12, 2), table(9, 3)
    ids = np.concatenate([a.ids, b.ids], axis=1).astype(np.int64)
    scores = np.concatenate([a.scores, b.scores], axis=1)
    pools = join_pools(np.where(ids >= 0, ids + large, -1), scores, 10)
    plain = a.join(b, k=10, progress=False)
    moved = plain.ids.astype(np.int64) + large
    np.testing.assert_array_equal(pools.ids, np.where(plain.ids >= 0, moved, -1))
    np.testing.assert_array_equal(pools.scores, plain.scores)
    np.testing.assert_array_equal(pools.counts, plain.counts)


def test_row_numbers_of_more_than_32_bits_are_refused() -> None:
    ids, scores = np.array([[2**32 - 2, -1]]), np.array([[0.5, 0]], dtype=np.float32)
    assert join_pools(ids, scores, 1).ids.tolist() == [[2**32 - 2]]
    with pytest.raises(UnsupportedError, match=r"4,294,967,295; rows below"):
        join_pools(ids + 1, scores, 1)


def test_scores_keep_their_bits() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=(1, 64)).astype(np.float32) * np.float32(1e-30)
    ids = random.permutation(64)[None].astype(np.int64)
    pools = join_pools(ids, scores, 64)
    order = np.argsort(-scores[0], kind="stable")
    np.testing.assert_array_equal(pools.scores[0], scores[0][order])
    np.testing.assert_array_equal(pools.ids[0], ids[0][order])


def test_it_does_not_matter_which_table_is_asked() -> None:
    a, b = table(12, 4), table(9, 5)
    one, two = a.join(b, progress=False), b.join(a, progress=False)
    np.testing.assert_array_equal(one.ids, two.ids)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_two_halves_of_the_candidates_make_the_table_of_all(tmp_path: Path) -> None:
    whole = table(20, 6)
    even = np.arange(20) % 2 == 0
    halves = [
        HardPairs.from_arrays(np.where(mask, whole.ids, -1)[:, mask], whole.scores[:, mask])
        for mask in (even, ~even)
    ]
    halves[1].save(tmp_path / "half")
    both = halves[0].join(tmp_path / "half", k=20, out=tmp_path / "both", progress=False)
    opened = HardPairs.open(tmp_path / "both")
    opened.verify()
    for each in (both, opened):
        assert [[*p.scores] for p in each] == [[*p.scores] for p in whole]
        assert [{*p.ids} for p in each] == [{*p.ids} for p in whole]
    first, second = opened.report["join"]["of"]
    assert first["path"] is None
    assert second["path"] == str(tmp_path / "half")
    assert len(second["sha256"]) == 64


def test_product_and_text_pools_of_one_store_are_joined(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=8, text_dim=6) as writer:
        rows = random.normal(size=(ROWS, 14)) + 0.4
        writer.append([f"k{row}" for row in range(ROWS)], rows[:, :8], rows[:, 8:])
    store = helip.EmbeddingStore.open(tmp_path / "s")
    product = helip.mine(store, k=5, progress=False)
    text = helip.mine(store, k=5, modality="text", progress=False)
    both = product.with_store(store).join(text, k=8, progress=False)
    assert both.fingerprint == store.fingerprint
    assert both.near("k3").keys[0] == f"k{reference(product, text, 3, 8)[0][0]}"
    assert (both.options["method"], both.options["modality"]) == ("joined", "joined")
    assert both.options["k"] == 8
    assert both.options["image_max"] == product.options["image_max"]
    image, captions = (np.ascontiguousarray(part) for part in (rows[:, :8], rows[:, 8:]))
    product, text = (
        helip.mine(image=image, text=captions, k=5, modality=modality, progress=False)
        for modality in ("both", "text")
    )
    both = product.join(text, k=8, progress=False)
    assert not both.fingerprint and both.with_store(store).near("k3").key == "k3"
    assert [each["options"]["modality"] for each in both.report["join"]["of"]] == ["both", "text"]
    json.dumps(both.stats())
    with pytest.raises(UnsupportedError):
        helip.update(both, store, out=tmp_path / "updated", progress=False)


@pytest.mark.parametrize(
    ("ours", "theirs", "known"),
    [("", "", ""), ("a" * 32, "", "a" * 32), ("", "b" * 32, "b" * 32)],
)
def test_what_one_table_does_not_know_agrees_with_any(ours: str, theirs: str, known: str) -> None:
    both = table(3, 0, fingerprint=ours).join(table(3, 1, fingerprint=theirs), progress=False)
    assert both.fingerprint == known


def test_tables_of_other_targets_are_refused() -> None:
    a = table(3, 0, fingerprint="a" * 32, data_fingerprint="1-2-3-0")
    few = HardPairs.from_arrays(a.ids[:9] % 9 * 0 - 1, a.scores[:9] * 0)
    with pytest.raises(MismatchError, match=r"9 rows there, 50 rows with .*; join tables"):
        a.join(few)
    with pytest.raises(MismatchError, match=f"fingerprint {'a' * 12}, the other from {'b' * 12};"):
        a.join(table(3, 1, fingerprint="b" * 32))
    with pytest.raises(MismatchError, match="other data than this: the captions differ"):
        a.join(table(3, 1, data_fingerprint="1-9-3-4"))


def test_bounds_of_near_duplicates_are_the_looser_ones() -> None:
    strict = {"image_max": 0.9, "text_max": 0.98, "signed": False, "min_score": 0.1}
    loose = {"image_max": 0.98, "text_max": 0.95, "signed": True, "min_score": 0.0}
    a, b = table(3, 0, options=strict), table(3, 1, options=loose)
    for both in (a.join(b, progress=False), b.join(a, progress=False)):
        assert both.options == {
            "image_max": 0.98,
            "text_max": 0.98,
            "signed": True,
            "method": "joined",
            "k": 3,
        }


def test_tables_of_other_filters_are_refused(tmp_path: Path) -> None:
    a, b = table(3, 0), table(4, 1)
    fewer = [each.filter(max_score=0.5, progress=False) for each in (a, b)]
    for one, other in ((fewer[0], b), (a, fewer[1]), (fewer[0], b.filter(k=2, progress=False))):
        with pytest.raises(InvalidArgumentError, match=r"filtered by .*; join first, then filter"):
            one.join(other, out=tmp_path / "both")
    assert not (tmp_path / "both").exists()
    both = fewer[0].join(fewer[1], progress=False)
    assert both.options["filter"] == fewer[0].options["filter"]


def test_bad_arguments_are_refused_with_the_bound(tmp_path: Path) -> None:
    a, b = table(3, 0), table(4, 1)
    with pytest.raises(InvalidArgumentError, match=r"k is 8, must be at most 7: the tables have 3"):
        a.join(b, k=8)
    with pytest.raises(InvalidArgumentError, match="k is 0, must be at least 1"):
        a.join(b, k=0)
    with pytest.raises(InvalidArgumentError, match="other is 5, must be a table, or its path"):
        a.join(5)
    with pytest.raises(StorageError, match="none"):
        a.join(tmp_path / "none")
    a.save(tmp_path / "there")
    with pytest.raises(InvalidArgumentError, match="there"):
        a.join(b, out=tmp_path / "there")
    assert HardPairs.open(tmp_path / "there").k == 3
