"""The pool of one target: rows, scores, keys, and similarities as NumPy has them in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import helip
from helip import EmbeddingStore, HardPairs
from helip.pairs.cosines import TableCosines, pool_cosines
from support.pair_samples import DELETED, ROWS, ZERO, core_of, cosines, mined, sides, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    return write_store(tmp_path_factory.mktemp("s") / "store")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_similarities_are_those_of_numpy(tmp_path: Path, dtype: str) -> None:
    store = write_store(tmp_path / "s", dtype=dtype)
    pairs = mined(store).with_store(store)
    image, text = (matrix.numpy() for matrix in store.rows(slice(None)))
    assert pairs.counts.sum() > ROWS
    for pool in pairs:
        assert pool.image_similarity.dtype == pool.text_similarity.dtype == np.float32
        wanted = cosines(image, pool.target, pool.ids), cosines(text, pool.target, pool.ids)
        np.testing.assert_allclose(pool.image_similarity, wanted[0], rtol=0, atol=1e-6)
        np.testing.assert_allclose(pool.text_similarity, wanted[1], rtol=0, atol=1e-6)


def test_the_product_of_both_similarities_is_the_score(store: EmbeddingStore) -> None:
    pairs = mined(store).with_store(store)
    for pool in pairs:
        product = pool.image_similarity * pool.text_similarity
        np.testing.assert_allclose(product, pool.scores, rtol=0, atol=1e-6)


def test_a_pool_has_the_row_of_the_table(store: EmbeddingStore) -> None:
    pairs = mined(store).with_store(store)
    assert len(list(pairs)) == len(pairs)
    for target, pool in enumerate(pairs):
        count = int(pairs.counts[target])
        assert (pool.target, len(pool), pool.key) == (target, count, f"k{target}")
        np.testing.assert_array_equal(pool.ids, pairs.ids[target, :count])
        np.testing.assert_array_equal(pool.scores, pairs.scores[target, :count])
        assert pool.keys == tuple(f"k{row}" for row in pool.ids)


@pytest.mark.parametrize("row", [ZERO, DELETED])
def test_a_row_of_zeros_and_a_deleted_one_have_no_pool(store: EmbeddingStore, row: int) -> None:
    pool = mined(store).with_store(store)[row]
    assert len(pool) == 0
    assert pool.keys == ()
    assert pool.image_similarity.shape == pool.text_similarity.shape == (0,)


@pytest.mark.parametrize("row", [ZERO, DELETED])
def test_pairs_with_a_row_without_direction_have_no_similarity(
    store: EmbeddingStore, row: int
) -> None:
    ids = np.array([1, row, 3])
    with np.errstate(all="raise"):
        found = [
            *pool_cosines(store, 5, ids),
            *(c[0] for c in TableCosines(store).of(5, ids[None])),
        ]
        assert np.isnan(pool_cosines(store, row, np.array([1, 2]))).all()
    assert np.isnan(found).tolist() == [[False, True, False]] * 4


def test_blocks_of_a_table_follow_each_other(
    store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = mined(store)
    whole = TableCosines(store).of(3, pairs.ids[3:20])
    monkeypatch.setattr("helip.pairs.blocks._PLACES", 2 * pairs.k)
    for found, wanted in zip(TableCosines(store).of(3, pairs.ids[3:20]), whole, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_both_ways_to_similarities_agree(store: EmbeddingStore) -> None:
    pairs = mined(store)
    image, text = TableCosines(store).of(0, pairs.ids)
    for target, count in enumerate(pairs.counts):
        found = pool_cosines(store, target, pairs.ids[target, :count])
        np.testing.assert_allclose(found[0], image[target, :count], rtol=0, atol=1e-6)
        np.testing.assert_allclose(found[1], text[target, :count], rtol=0, atol=1e-6)
        assert np.isnan(image[target, count:]).all()


def test_large_and_small_values_keep_their_cosines(tmp_path: Path) -> None:
    image = np.array([[3e38, 3e38], [3e38, 0.0], [1e-40, 1e-40]], np.float32)
    with EmbeddingStore.create(tmp_path / "s", image_dim=2, text_dim=2) as writer:
        writer.append(["a", "b", "c"], image, image[::-1].copy())
    store = EmbeddingStore.open(tmp_path / "s")
    found, _ = pool_cosines(store, 0, np.array([1, 2]))
    np.testing.assert_allclose(found, [np.sqrt(0.5), 1.0], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_row_numbers_keep_their_dtype(dtype: type) -> None:
    """Tables have int64 from 2^31 rows on, which no test can hold."""
    pairs = HardPairs(core_of([[1, -1], [0, -1]], dtype))
    assert pairs[0].ids.dtype == dtype
    assert pairs[0].ids.tolist() == [1]


def test_negative_targets_count_from_the_end_and_others_are_refused() -> None:
    pairs = HardPairs.from_arrays(np.array([[1], [0], [0]], np.int32), np.ones((3, 1)))
    assert [pairs[np.int64(-1)].target, pairs[-3].target] == [2, 0]
    for outside in (3, -4):
        with pytest.raises(IndexError, match=rf"target {outside} is outside 0\.\.2"):
            pairs[outside]
    with pytest.raises(TypeError, match="not slice"):
        pairs[0:2]


def test_without_its_store_a_table_knows_rows_alone(store: EmbeddingStore) -> None:
    pairs = mined(store)
    pool = pairs[1]
    assert pairs.store is None
    assert pool.key is pool.keys is pool.image_similarity is pool.text_similarity is None
    with pytest.raises(helip.InvalidArgumentError, match=r"with_store\(store\)"):
        pairs.near("k1")


def test_a_target_is_found_by_its_key(store: EmbeddingStore, tmp_path: Path) -> None:
    mined(store).save(tmp_path / "p")
    pairs = HardPairs.open(tmp_path / "p", store=store.path)
    assert [pairs.near(f"k{row}").target for row in range(ROWS)] == list(range(ROWS))
    for absent in ("k", "", f"k{ROWS}", 3):
        with pytest.raises(helip.InvalidArgumentError, match=f"no key {absent!r}; .* 'k0'"):
            pairs.near(absent)


def test_a_table_takes_the_store_that_was_mined_alone(
    store: EmbeddingStore, tmp_path: Path
) -> None:
    pairs = mined(store)
    other = write_store(tmp_path / "other", seed=9)
    both = f"{store.fingerprint[:12]}.*{other.fingerprint[:12]}"
    with pytest.raises(helip.MismatchError, match=both):
        pairs.with_store(other)
    pairs.save(tmp_path / "p")
    with pytest.raises(helip.MismatchError, match=other.fingerprint[:12]):
        HardPairs.open(tmp_path / "p", store=other)
    bare = HardPairs.from_arrays(np.array([[1], [0]], np.int32), np.ones((2, 1)))
    with pytest.raises(helip.MismatchError, match=f"2 targets, .* {ROWS} rows"):
        bare.with_store(store)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_a_table_of_arrays_takes_a_store_of_these_rows_alone(tmp_path: Path, dtype: str) -> None:
    store = write_store(tmp_path / "s", dtype=dtype)
    image, text = (matrix.numpy() for matrix in write_store(tmp_path / "f").rows(slice(None)))
    order = np.random.default_rng(1).permutation(ROWS)
    options = {"k": 5, "device": "cpu", "progress": False}
    for modality in ("both", "image", "text"):
        mine = {"image": image, "text": text, "modality": modality, **options}
        assert helip.mine(**mine).with_store(store).store is store
        for wrong in (order, np.roll(np.arange(ROWS), 1)):
            shuffled = helip.mine(**{**mine, "image": image[wrong], "text": text[wrong]})
            with pytest.raises(helip.MismatchError, match=r"of 64 pairs .* in the table and"):
                shuffled.with_store(store)
    texts = helip.mine(**{**mine, "modality": "both", "text": text[order]})
    with pytest.raises(helip.MismatchError, match="others by this store"):
        texts.with_store(store)
    lowered = texts.filter(max_score=0.5, action="downweight", progress=False)
    assert lowered.with_store(store).store is store  # its scores say nothing


def test_a_filtered_table_still_knows_its_store(store: EmbeddingStore) -> None:
    pairs = mined(store).with_store(store).filter(max_score=0.5, progress=False)
    assert pairs.store is store


def test_a_sample_has_targets_with_hard_pairs_once_each(store: EmbeddingStore) -> None:
    pairs = mined(store).with_store(store)
    known = np.flatnonzero(pairs.counts)
    few = [pool.target for pool in pairs.sample(5, seed=3)]
    assert few == [pool.target for pool in pairs.sample(5, seed=3)]
    assert few == sorted(set(few)) and len(few) == 5 and set(few) <= set(known)
    assert few != [pool.target for pool in pairs.sample(5, seed=4)]
    assert [pool.target for pool in pairs.sample(10**6)] == known.tolist()
    with pytest.raises(helip.InvalidArgumentError, match="n is -1"):
        pairs.sample(-1)


def test_a_part_is_no_table(store: EmbeddingStore, tmp_path: Path) -> None:
    part = helip.mine(store, k=3, out=tmp_path / "p", part=(1, 2), progress=False)
    calls = (part.__getitem__, part.sample, part.save, lambda _: list(part))
    for call in (*calls, lambda _: part.to_csv("x.csv"), lambda _: part.filter(max_score=0.9)):
        with pytest.raises(helip.UnsupportedError, match=r"merge the parts \(helip\.merge\)"):
            call(1)


def test_a_pool_shows_what_it_is(store: EmbeddingStore) -> None:
    pool = mined(store)[0]
    first = ", ".join(map(str, pool.ids[:3]))
    assert repr(pool) == f"TargetPool(target=0, ids=[{first}, …], count={len(pool)})"
    assert "key='k0'" in repr(mined(store).with_store(store)[0])


def test_the_samples_are_as_the_tests_take_them(store: EmbeddingStore) -> None:
    image, _ = sides()
    assert not image[ZERO].any()
    assert store.deleted.tolist() == [DELETED]
