"""Bootstrap intervals: of one figure against scipy's, and of several jointly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from helip.common.proportions import wilson_interval
from helip.evaluation.statistics.comparison import compare_jointly
from helip.evaluation.statistics.intervals import intervals, joint_bounds, rank_outcomes, trials_of
from helip.evaluation.tasks.retrieval import DIRECTIONS


def mean_of(values, groups=None, bootstrap=200, least=0.0):
    values = np.asarray(values, dtype=np.float64)
    (figure,) = intervals(
        lambda w: np.array([w @ values / w.sum()]), [len(values)],
        [trials_of(groups, np.ones(len(values)))], n=len(values), groups=groups,
        bootstrap=bootstrap, seed=1, least=least,
    )  # fmt: skip
    return figure


def test_an_interval_of_a_mean_is_that_of_scipy():
    right = np.random.default_rng(0).random(400) < 0.3
    ours = mean_of(right, bootstrap=4000)
    theirs = stats.bootstrap(
        (right,), np.mean, n_resamples=4000, method="percentile", random_state=2
    ).confidence_interval
    assert ours["value"] == pytest.approx(right.mean())
    # Percentiles of 4,000 resamples vary by a twentieth of the width or less.
    assert ours["low"] == pytest.approx(theirs.low, abs=0.005)
    assert ours["high"] == pytest.approx(theirs.high, abs=0.005)


@pytest.mark.parametrize("n", [1, 2, 3, 20, 1000])
def test_an_interval_is_as_wide_as_so_many_queries_allow_where_all_came_to_the_same(n):
    high = stats.binomtest(0, n).proportion_ci(0.95, method="wilson").high
    none, every, unchanged = (
        mean_of(np.full(n, value), least=least)
        for value, least in ((0.0, 0.0), (1.0, 0.0), (0.0, -1.0))
    )
    assert (none["low"], none["high"]) == (0.0, pytest.approx(high))
    assert (every["low"], every["high"]) == (pytest.approx(1 - high), 1.0)
    assert (unchanged["low"], unchanged["high"]) == pytest.approx((-high, high))


def test_queries_of_one_group_that_came_to_the_same_count_once():
    groups = np.repeat(np.arange(10), 5)
    assert mean_of(np.ones(50), groups)["low"] == pytest.approx(wilson_interval(1, 10)[0])
    # Of groups of unequal size, as many as have the same sum of squares.
    uneven = np.repeat([0, 1], [9, 1])
    assert trials_of(uneven, np.ones(10)) == pytest.approx(100 / 82)


def test_a_median_of_fewer_than_six_queries_has_no_interval():
    for n in (5, 6):
        figure = rank_outcomes(np.arange(1, n + 1)).figures(bootstrap=50, seed=0)["median_rank"]
        assert (figure["low"] is None) == (n < 6)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 30])
def test_intervals_of_few_queries_hold_the_truth_in_95_percent_of_samples(n):
    """The mean over all chances of success, computed exactly."""
    chances = np.linspace(0, 1, 201)
    covered = np.zeros_like(chances)
    for hits in range(n + 1):
        figure = mean_of(np.arange(n) < hits)
        there = (figure["low"] <= chances) & (chances <= figure["high"])
        covered += there * stats.binom.pmf(hits, n, chances)
    assert covered.mean() >= 0.95
    assert covered.min() > 0.75


@pytest.mark.parametrize("n", [2, 4, 5, 6, 9])
def test_two_models_that_are_as_good_are_told_apart_in_less_than_5_percent_of_few_queries(n):
    """Each query is lost or won with the same chance; computed exactly, over numbers of losses."""
    told = 0.0
    for lost in range(n + 1):
        changes = np.where(np.arange(n) < lost, -1.0, 1.0)
        figure = mean_of(changes, least=-1.0)
        _, (high,) = joint_bounds(
            np.array([changes.mean()]), np.random.default_rng(0).choice(changes, (400, n)).mean(
                axis=1, keepdims=True), [float(n)],
        )  # fmt: skip
        told += stats.binom.pmf(lost, n, 0.5) * (min(high, figure["high"]) < 0)
    assert told < 0.05


def test_a_difference_leaves_out_zero_where_a_sign_test_does():
    n, far = 300, 0
    for won in range(4, 24):
        for lost in range(0, won, 3):
            p = stats.binomtest(won, won + lost).pvalue
            if 0.02 < p < 0.07:  # the two are not the same
                continue
            changes = np.repeat([1.0, -1.0, 0.0], [won, lost, n - won - lost])
            figure = mean_of(changes, least=-1.0)
            assert (figure["low"] > 0) == (p <= 0.02), (won, lost, p)
            far += 1
    assert far > 60


@pytest.mark.parametrize(("figures", "reach"), [(1, 1.96), (4, 2.49), (10, 2.80)])
def test_joint_bounds_of_independent_figures_are_those_of_sidak(figures, reach):
    table = np.random.default_rng(0).normal(size=(40_000, figures)) * np.arange(1, figures + 1)
    low, high = joint_bounds(np.zeros(figures), table, [None] * figures)
    np.testing.assert_allclose(high, reach * np.arange(1, figures + 1), rtol=0.02)
    np.testing.assert_allclose(low, -high)


def test_figures_that_move_together_cost_nothing():
    column = np.random.default_rng(0).normal(size=40_000)
    table = np.stack([column, 2 * column], axis=1)
    _, high = joint_bounds(np.zeros(2), table, [None] * 2)
    np.testing.assert_allclose(high, [1.96, 3.92], rtol=0.02)


@pytest.mark.parametrize(("queries", "bounded"), [(5, False), (6, True)])
def test_a_difference_of_medians_of_a_few_queries_has_no_joint_bounds(queries, bounded):
    ranks = np.random.default_rng(0).permutation(queries) + 1
    a, b = (
        {"retrieval": {"per_query": {way: {"ranks": each, "groups": None} for way in DIRECTIONS}}}
        for each in (ranks, 2 * ranks)
    )
    paths = [("retrieval", DIRECTIONS[0], name) for name in ("median_rank", "recall@1")]
    ((median, recall),) = compare_jointly([(a, b, paths)], bootstrap=50)
    assert [median[end] is not None for end in ("low", "high")] == [bounded] * 2
    assert recall["low"] < recall["value"] < recall["high"]
    for figure in compare_jointly([(a, b, paths)], bootstrap=0)[0]:
        assert figure["low"] == figure["value"] == figure["high"]


@pytest.mark.parametrize("still", [1, 3])
def test_figures_that_stand_still_have_wilsons_bounds_at_the_level_of_all(still):
    table = np.zeros((40_000, 1 + still))
    table[:, 0] = 0.01 * np.random.default_rng(0).normal(size=40_000)
    low, high = joint_bounds(np.zeros(1 + still), table, [None] + [50.0] * still)
    z = stats.norm.ppf((1 + 0.95 ** (1 / (1 + still))) / 2)  # Sidak's
    np.testing.assert_allclose(high[1:], wilson_interval(0.0, 50, z=z)[1], rtol=0.03)
    np.testing.assert_allclose(low, -high)
