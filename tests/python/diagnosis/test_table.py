"""Measures of a table, against plain loops in float64."""

from __future__ import annotations

import itertools
from math import comb

import numpy as np
import pytest
from scipy.stats import skew

from helip.common.errors import InvalidArgumentError
from helip.diagnosis import table as module
from helip.diagnosis.table import (
    measure_table,
    members_by_chance,
    none_by_chance,
    sample_of,
    top_share_by_chance,
)
from helip.pairs.hard_pairs import HardPairs


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
