"""Measures of a table, and duplicates by window of ranks, against plain loops in float64."""

from __future__ import annotations

import itertools
from math import comb
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import skew

import helip
from helip.common.errors import InvalidArgumentError
from helip.data.dataset import Dataset
from helip.diagnosis import table as module
from helip.diagnosis.draws import RowGroups, equal
from helip.diagnosis.table import (
    measure_table,
    measure_windows,
    members_by_chance,
    none_by_chance,
    sample_of,
    top_share_by_chance,
)
from helip.pairs.hard_pairs import HardPairs
from support.data_samples import png, write_tar
from support.diagnosis_samples import ROWS, table, write_pictures, write_store


def made(n: int = 300, k: int = 60, seed: int = 0, flat: bool = False) -> HardPairs:
    """A table in which low rows are chosen more often; row 3 is empty, every tenth is short."""
    random = np.random.default_rng(seed)
    ids, scores = np.full((n, k), -1, dtype=np.int32), np.zeros((n, k), dtype=np.float32)
    weights = 1 / (5 + np.arange(n))
    for row in range(n):
        count = 0 if row == 3 else k // 2 if row % 10 == 0 else k
        free = weights * (np.arange(n) != row)
        ids[row, :count] = random.choice(n, count, replace=False, p=free / free.sum())
        low = 0.9 if flat else 0.2
        scores[row, :count] = np.sort(random.uniform(low, 0.95, count))[::-1]
    return HardPairs.from_arrays(ids, scores, options={"method": "exact", "k": k})


def test_pools_and_scores_are_those_of_plain_loops() -> None:
    pairs = made()
    found = measure_table(pairs, targets=1000)
    assert (found.rows, found.k, found.window, found.sampled) == (300, 60, 50, 300)
    assert found.method == "exact"
    assert (found.empty, found.short) == (1, 31)
    assert found.window_members == pytest.approx(np.minimum(pairs.counts, 50).mean())
    for rank, score in found.scores:
        there = [float(pairs.scores[t, rank - 1]) for t in range(300) if pairs.counts[t] >= rank]
        assert score == pytest.approx(np.median(there))
    assert [rank for rank, _ in found.scores] == [1, 10, 50]
    ratios = [pairs.scores[t, 49] / pairs.scores[t, 0] for t in range(300) if pairs.counts[t] >= 50]
    assert found.flatness == pytest.approx(np.median(ratios))
    assert not found.saturated
    assert measure_table(made(flat=True)).saturated


def test_hubs_are_counted_over_all_rows() -> None:
    pairs = made()
    for hubs in measure_table(pairs).hubs:
        ids = pairs.ids[:, : hubs.ranks]
        degrees = np.bincount(ids[ids >= 0], minlength=300)
        assert hubs.targets == 300
        assert hubs.top_share == pytest.approx(np.sort(degrees)[-3:].sum() / degrees.sum())
        assert hubs.skewness == pytest.approx(skew(degrees))
        assert hubs.top_share > hubs.top_share_by_chance
        assert hubs.skewness_by_chance == pytest.approx(degrees.mean() ** -0.5)


def test_of_a_large_table_the_hubs_are_those_of_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HUB_TARGETS", 120)
    pairs = made()
    chosen = sample_of(300, 120, seed=4)
    ids = pairs.ids[chosen, :10]
    degrees = np.bincount(ids[ids >= 0], minlength=300)
    hubs = measure_table(pairs, seed=4).hubs[0]
    assert hubs.targets == 120
    assert hubs.top_share == pytest.approx(np.sort(degrees)[-3:].sum() / degrees.sum())
    assert hubs.skewness == pytest.approx(skew(degrees))


def test_batches_by_chance_are_of_the_members_that_are_there() -> None:
    found = measure_table(made(), batch_size=100)
    held = {each.batch_size: each for each in found.by_chance}
    assert sorted(held) == [64, 100, 256]  # 1,024 are more than there are
    assert held[100].members == pytest.approx(found.window_members * 99 / 299)
    # Of 270 rows with 50 hard pairs, 29 with 30 and one with none.
    for size, each in held.items():
        sizes = np.minimum(made().counts, 50)
        nones = [comb(299 - n, size - 1) / comb(299, size - 1) for n in sizes.tolist() if n]
        assert each.none == pytest.approx(np.mean(nones))
    assert found.coverage == pytest.approx(299 / 300)


def test_a_seed_gives_the_same_sample_and_another_one_another() -> None:
    pairs = made()
    assert measure_table(pairs, targets=40, seed=1) == measure_table(pairs, targets=40, seed=1)
    assert measure_table(pairs, targets=40, seed=1) != measure_table(pairs, targets=40, seed=2)
    rows = sample_of(1000, 50, 0)
    assert len(set(rows.tolist())) == 50
    assert set(sample_of(30, 50, 0).tolist()) == set(range(30))


def test_a_table_without_hard_pairs_has_measures_too() -> None:
    empty = HardPairs.from_arrays(
        np.full((20, 12), -1, dtype=np.int32), np.zeros((20, 12), dtype=np.float32)
    )
    found = measure_table(empty)
    assert (found.empty, found.scores, found.flatness) == (20, (), None)
    assert found.hubs[0].top_share == 0
    assert all(each.members == 0 and each.none == 1 for each in found.by_chance)


@pytest.mark.parametrize("wrong", [{"window": 0}, {"batch_size": 1}, {"targets": 0}])
def test_what_is_out_of_its_bound_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
        measure_table(made(n=40, k=5), **wrong)


def test_a_batch_holds_what_counting_all_batches_of_a_row_says() -> None:
    rows, batch, window = 9, 4, {1, 2, 5}
    held = [len(window & set(others)) for others in itertools.combinations(range(1, rows), 3)]
    assert members_by_chance(3, batch, rows) == pytest.approx(np.mean(held))
    assert none_by_chance(3, batch, rows) == pytest.approx(np.mean(np.array(held) == 0))


def test_figures_of_the_results_page() -> None:
    assert members_by_chance(50, 64, 8832) == pytest.approx(0.357, abs=1e-3)
    assert members_by_chance(50, 256, 8832) == pytest.approx(1.444, abs=1e-3)
    assert none_by_chance(50, 256, 30_761) == pytest.approx(comb(30_710, 255) / comb(30_760, 255))


def test_a_batch_of_all_rows_holds_the_whole_window() -> None:
    for batch in (20, 50):
        assert members_by_chance(5, batch, 20) == 5
        assert none_by_chance(5, batch, 20) == 0
    assert members_by_chance(5, 2, 1) == 0
    assert none_by_chance(0, 10, 20) == 1


@pytest.mark.parametrize("mean", [0.004, 0.5, 10.0, 50.0])
def test_the_top_rows_of_random_places_hold_what_a_draw_shows(mean: float) -> None:
    rows = 200_000
    places = np.random.default_rng(0).integers(0, rows, round(mean * rows))
    degrees = np.sort(np.bincount(places, minlength=rows))[::-1]
    drawn = degrees[: rows // 100].sum() / degrees.sum()
    assert top_share_by_chance(mean) == pytest.approx(drawn, rel=0.02)


def test_without_places_nothing_is_held() -> None:
    assert top_share_by_chance(0.0) == 0.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return helip.open_dataset(write_pictures(tmp_path_factory.mktemp("windows")), progress=False)


TARGETS = np.arange(ROWS)


def test_where_all_hard_pairs_are_looked_at_shares_are_those_of_a_loop(
    data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMBERS", 40)
    pairs = table()
    found = measure_windows(pairs, data, TARGETS, window=25)
    assert [(each.first, each.last) for each in found] == [(1, 25), (1, 10), (11, 30), (31, 40)]
    for each in found:
        ids, scores = (side[:, each.first - 1 : each.last] for side in (pairs.ids, pairs.scores))
        assert each.pairs == ids.size
        assert each.equal_captions == pytest.approx((ids % 24 == TARGETS[:, None] % 24).mean())
        assert each.near == pytest.approx((scores >= 0.9).mean())
        assert each.equal_pictures == 0 and each.near_captions is each.near_pictures is None


def test_of_many_hard_pairs_a_random_eight_are_looked_at(data: Dataset) -> None:
    pairs = table()
    found = [measure_windows(pairs, data, TARGETS, seed=seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    assert found[0][0].pairs == 8 * ROWS
    share = (pairs.ids % 24 == TARGETS[:, None] % 24).mean()
    assert found[0][0].equal_captions == pytest.approx(share, abs=0.03)


def test_a_store_tells_near_captions_and_pictures(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMBERS", 40)
    monkeypatch.setattr(module, "_BLOCK", 7)
    store, pairs = write_store(data, tmp_path / "store"), table()
    whole = measure_windows(pairs, data, TARGETS, store=store)[0]
    shares = []
    for side in store.rows(slice(None)):
        unit = side.double().numpy()
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[TARGETS[:, None], pairs.ids]
        shares.append((cosines >= 0.95).mean())
    assert (whole.near_pictures, whole.near_captions) == pytest.approx(tuple(shares))
    assert whole.near_captions is not None
    assert whole.near_captions > 0
    monkeypatch.setattr(module, "STORE_TARGETS", 10)
    few = measure_windows(pairs, data, TARGETS, store=store)[0]
    cosines = (unit @ unit.T)[TARGETS[:10, None], pairs.ids[:10]]
    assert few.near_captions == pytest.approx((cosines >= 0.95).mean())


def test_places_that_no_hard_pair_fills_are_not_near(data: Dataset, tmp_path: Path) -> None:
    store, ids = write_store(data, tmp_path / "store"), table().ids.copy()
    ids[:, 2:] = -1
    pairs = HardPairs.from_arrays(ids, np.where(ids >= 0, 0.5, 0).astype(np.float32))
    whole = measure_windows(pairs, data, TARGETS, store=store)[0]
    text = store.rows(slice(None))[1].double().numpy()
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    cosines = (text @ text.T)[TARGETS[:, None], ids[:, :2]]
    assert whole.near_captions == pytest.approx((cosines >= 0.95).mean())


def test_pools_that_are_short_or_empty_are_looked_at_as_far_as_they_go(data: Dataset) -> None:
    ids = table().ids.copy()
    ids[:, 12:] = -1
    ids[5:] = -1
    pairs = HardPairs.from_arrays(ids, np.where(ids >= 0, 0.5, 0).astype(np.float32))
    found = {(each.first, each.last): each for each in measure_windows(pairs, data, TARGETS)}
    assert found[1, 40].pairs == 5 * 8
    assert found[11, 30].pairs == 5 * 2
    assert found[31, 40].pairs == 0
    assert found[31, 40].equal_captions == found[31, 40].near == 0


def test_equal_pictures_in_tar_shards_are_told_by_their_bytes(tmp_path: Path) -> None:
    members = [
        (f"s{row:02}.{suffix}", raw)
        for row in range(20)
        for suffix, raw in (("png", png(row // 2)), ("txt", f"caption {row}".encode()))
    ]
    data = helip.open_dataset(write_tar(tmp_path / "0.tar", members), progress=False)
    ids = np.stack([np.roll(np.arange(20), -row)[1:9] for row in range(20)]).astype(np.int32)
    pairs = HardPairs.from_arrays(ids, np.full(ids.shape, 0.5, dtype=np.float32))
    whole = measure_windows(pairs, data, np.arange(20))[0]
    # Row 2i has its equal at rank 1, row 2i + 1 nowhere in its pool of eight.
    assert whole.equal_pictures == pytest.approx(10 / 160)
    assert whole.equal_captions == 0


def test_rows_of_one_picture_are_equal_where_the_data_knows_it(tmp_path: Path) -> None:
    for row in range(6):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    lines = [f"{row % 6}.png,caption {row},k{row}" for row in range(12)]
    (tmp_path / "d.csv").write_text("\n".join(["image,caption,key", *lines]) + "\n")
    data = helip.open_dataset(tmp_path / "d.csv", key_column="key", progress=False)
    found = RowGroups(data).of(np.arange(12))
    assert equal(found[:1], found[None])[0].nonzero()[0].tolist() == [0, 6]


def test_captions_that_cannot_be_read_equal_nothing_and_are_counted(tmp_path: Path) -> None:
    members = [
        (f"s{row:02}.{suffix}", raw)
        for row in range(4)
        for suffix, raw in (("png", png(row)), ("txt", b"same" if row < 2 else b" "))
    ]
    data = helip.open_dataset(write_tar(tmp_path / "0.tar", members), progress=False)
    groups = RowGroups(data)
    found = groups.of(np.array([0, 1, 2, 3, 2]))
    assert equal(found, found[None].repeat(5, axis=0)).tolist() == [
        [True, True, False, False, False], [True, True, False, False, False],
        *[[False] * 5] * 3,
    ]  # fmt: skip
    assert sum(groups.unread.values()) == 2
