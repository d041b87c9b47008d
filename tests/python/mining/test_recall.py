"""Recall of a sample, and its interval."""

from __future__ import annotations

import numpy as np
import pytest

import helip
from helip.mining.recall import draw_targets, hits_of, most_shown, recall_of, sample_size


def test_the_interval_is_that_of_the_core() -> None:
    values = np.random.default_rng(0).normal(size=(1500, 8)) + 0.5
    table = helip.mine(
        image=values[:, :5], text=values[:, 5:], k=1, method="sample", candidates=700,
        device="cpu", progress=False,
    )  # fmt: skip
    theirs = table.report["recall"]
    hits = np.zeros(theirs["targets"], dtype=np.int64)
    hits[: round(theirs["value"] * theirs["targets"])] = 1
    ours = recall_of(hits, np.ones_like(hits))
    assert ours.as_report() == pytest.approx(theirs, abs=1e-12)


def test_targets_without_an_exact_pool_do_not_count() -> None:
    found = recall_of(np.array([1, 0, 2]), np.array([2, 0, 2]))
    assert (found.targets, found.value) == (2, 0.75)
    none = recall_of(np.zeros(3), np.zeros(3))
    assert (none.value, none.low, none.high) == (1.0, 0.0, 1.0)


def test_as_many_targets_are_taken_as_a_recall_needs() -> None:
    assert [sample_size(10**6, recall) for recall in (0.5, 0.95, 0.98)] == [1000] * 3
    for recall in (0.99, 0.996, 0.999):
        size = sample_size(10**6, recall)
        hits = np.full(size, 10**6)
        half = hits * (1 - (1 - recall) / 2)  # half of what may be missed
        assert recall_of(half, hits).low >= recall
        assert recall_of(half[:-1], hits[:-1]).low < recall
    assert sample_size(10**6, 0.99999) == 65_536
    assert sample_size(700, 0.99999) == 700
    assert most_shown(10**6) == pytest.approx(0.99994, abs=1e-5)
    assert most_shown(700) == 1.0  # all of them


def test_a_pair_counts_when_it_scores_no_less_than_the_last_exact_one() -> None:
    exact = np.float32([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.0, 0.0], [0, 0, 0, 0]]), [4, 2, 0]
    found = np.float32([[0.9, 0.8, 0.6, 0.5], [0.8, 0.7, 0.0, 0.0], [0, 0, 0, 0]]), [4, 2, 0]
    told = [(a, np.array(b)) for a, b in (exact, found)]
    hits, wanted = hits_of(*told, 0)
    assert (hits.tolist(), wanted.tolist()) == ([3, 1, 0], [4, 2, 0])
    hits, wanted = hits_of(*told, 1)  # the best is passed over in both
    assert (hits.tolist(), wanted.tolist()) == ([2, 0, 0], [3, 1, 0])


def test_each_row_is_as_likely_a_target_and_most_stay_where_rows_are_added() -> None:
    counts, stayed = np.zeros(100), 0
    for seed in range(1500):
        targets = draw_targets(np.random.default_rng(seed), 100, 20)
        assert (np.diff(targets) > 0).all() and len(targets) == 20
        before = draw_targets(np.random.default_rng(seed), 80, 20)
        stayed += np.isin(targets[targets < 80], before).sum()
        counts[targets] += 1
    assert (abs(counts - 300) < 75).all()  # five standard deviations
    assert stayed == counts[:80].sum()
    assert draw_targets(np.random.default_rng(0), 20, 20).tolist() == list(range(20))
