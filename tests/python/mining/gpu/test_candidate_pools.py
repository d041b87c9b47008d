"""Candidate lists: whatever is offered, the exact pool stays inside."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from helip.mining.gpu.candidate_pools import CandidatePools, _Lists, list_length

CPU = torch.device("cpu")


class Scores:
    """A symmetric table of scores that ranks candidates exactly."""

    def __init__(self, table, k):
        self.table, self.k = table, k
        self.solved = []

    def rerank(self, targets, candidates):
        ids = np.full((len(targets), self.k), -1, np.int64)
        scores = np.zeros((len(targets), self.k), np.float32)
        counts = np.zeros(len(targets), np.int32)
        for row, (target, some) in enumerate(zip(targets, candidates, strict=True)):
            some = np.sort(some[some >= 0])
            assert len(set(some)) == len(some)
            some = some[self.table[target, some] > 0]
            best = some[np.argsort(-self.table[target, some], kind="stable")][: self.k]
            ids[row, : len(best)], counts[row] = best, len(best)
            scores[row, : len(best)] = self.table[target, best]
        return ids, scores, counts

    def solve(self, targets):
        self.solved.extend(targets)
        every = np.arange(len(self.table))
        return self.rerank(targets, np.array([every[every != t] for t in targets]))

    def pools(self, first, last):
        return CandidatePools(first, last, self.k, len(self.table), self.rerank, self.solve, [CPU])


def survivors(table, rows, columns, slack):
    values = torch.from_numpy(table[rows, columns]).float()
    return (
        torch.from_numpy(rows).int(),
        torch.from_numpy(columns).int(),
        values + slack,
        (values - slack).clamp_min(0),
    )


def symmetric_scores(size, seed, levels=None):
    table = np.random.default_rng(seed).random((size, size))
    table = np.triu(table, 1) + np.triu(table, 1).T
    return np.ceil(table * levels) / levels if levels else table


@pytest.mark.parametrize("slack", [0.001, 0.2])
@pytest.mark.parametrize("levels", [None, 3])
def test_the_exact_pools_come_out(levels, slack):
    scores = Scores(symmetric_scores(300, 1, levels), k=4)
    pools = scores.pools(0, 300)
    rows, columns = np.triu_indices(300, 1)
    order = np.random.default_rng(2).permutation(len(rows))
    for part in np.array_split(order, 11):
        found = survivors(scores.table, rows[part], columns[part], slack)
        pools.offer(found, (0, 300), (0, 300))
    expected = scores.solve(np.arange(300))
    scores.solved.clear()
    for mine, right in zip(pools.finish(0, 300), expected, strict=True):
        np.testing.assert_array_equal(mine, right)
    assert (pools.cut > 0) == (levels == 3 or slack == 0.2)


def test_thresholds_rise_to_a_lower_bound_of_the_kth_score():
    scores = Scores(symmetric_scores(300, 1), k=4)
    pools = scores.pools(0, 300)
    rows, columns = np.triu_indices(300, 1)
    pools.offer(survivors(scores.table, rows, columns, 0.001), (0, 300), (0, 300))
    thresholds = pools.thresholds(0, 300, CPU).numpy()
    kth = np.sort(scores.table, axis=1)[:, -4]
    assert (thresholds <= kth).all()
    assert (thresholds > kth - 0.5).all()
    pools.raise_thresholds(0, torch.full((300,), 0.1))
    assert np.array_equal(pools.thresholds(0, 300, CPU).numpy(), np.maximum(thresholds, 0.1))


def test_only_targets_of_the_band_take_candidates():
    scores = Scores(symmetric_scores(30, 3), k=3)
    pools = scores.pools(10, 20)
    assert torch.isinf(pools.thresholds(0, 10, CPU)).all()
    assert torch.isinf(pools.thresholds(5, 12, CPU)).tolist() == [True] * 5 + [False] * 2
    rows, columns = np.triu_indices(30, 1)
    pools.offer(survivors(scores.table, rows, columns, 0.01), (0, 30), (0, 30))
    expected = scores.solve(np.arange(10, 20))
    np.testing.assert_array_equal(pools.finish(10, 20)[0], expected[0])


def test_positions_are_relative_to_the_spans_of_their_blocks():
    scores = Scores(symmetric_scores(30, 4), k=3)
    pools = scores.pools(0, 30)
    for a in range(0, 30, 10):
        for b in range(a, 30, 10):
            rows, columns = (x.ravel() for x in np.mgrid[0:10, 0:10])
            if a == b:
                rows, columns = np.triu_indices(10, 1)
            values = scores.table[a : a + 10, b : b + 10]
            pools.offer(survivors(values, rows, columns, 0.01), (a, a + 10), (b, b + 10))
    expected = scores.solve(np.arange(30))
    np.testing.assert_array_equal(pools.finish(0, 30)[0], expected[0])


def test_a_target_whose_list_is_cut_too_often_is_solved_among_all_rows():
    table = np.ones((900, 900)) - np.eye(900)
    scores = Scores(table, k=2)
    pools = scores.pools(0, 900)
    columns = np.arange(1, 900)
    pools.offer(survivors(table, np.zeros_like(columns), columns, 0.01), (0, 900), (0, 900))
    ids, _, counts = pools.finish(0, 1)
    assert ids.tolist() == [[1, 2]]
    assert counts.tolist() == [2]
    assert scores.solved == [0]
    assert pools.solved == 1


def test_thresholds_are_shared_while_a_list_is_cut():
    table = np.ones((300, 300)) - np.eye(300)
    scores, sharing = Scores(table, k=2), []

    def rerank(targets, candidates):  # while the lists of a device are locked
        sharing.append(threading.Thread(target=pools.share_thresholds, daemon=True))
        sharing[-1].start()
        time.sleep(0.05)
        return scores.rerank(targets, candidates)

    pools = CandidatePools(0, 300, 2, 300, rerank, scores.solve, [CPU])
    pools._lists["another device"] = _Lists.empty(300, list_length(2, 300), CPU)
    columns = np.arange(1, 300)
    found = survivors(table, np.zeros_like(columns), columns, 0.01)
    offering = threading.Thread(target=pools.offer, args=(found, (0, 300), (0, 300)), daemon=True)
    offering.start()
    for thread in (offering, *sharing):
        thread.join(20)
        assert not thread.is_alive()
    assert pools.cut > 0 and sharing
