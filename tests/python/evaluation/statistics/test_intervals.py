"""Bootstrap intervals: of one figure against scipy's, and of several jointly."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from helip.evaluation.statistics.intervals import intervals, joint_bounds


def test_an_interval_of_a_mean_is_that_of_scipy():
    right = np.random.default_rng(0).random(400) < 0.3
    (ours,) = intervals(
        lambda w: np.array([w @ right / w.sum()]), [400],
        n=400, groups=None, bootstrap=4000, seed=1,
    )  # fmt: skip
    theirs = stats.bootstrap(
        (right,), np.mean, n_resamples=4000, method="percentile", random_state=2
    ).confidence_interval
    assert ours["value"] == pytest.approx(right.mean())
    # Percentiles of 4,000 resamples vary by a twentieth of the width or less.
    assert ours["low"] == pytest.approx(theirs.low, abs=0.005)
    assert ours["high"] == pytest.approx(theirs.high, abs=0.005)


@pytest.mark.parametrize(("figures", "reach"), [(1, 1.96), (4, 2.49), (10, 2.80)])
def test_joint_bounds_of_independent_figures_are_those_of_sidak(figures, reach):
    table = np.random.default_rng(0).normal(size=(40_000, figures)) * np.arange(1, figures + 1)
    low, high = joint_bounds(np.zeros(figures), table)
    np.testing.assert_allclose(high, reach * np.arange(1, figures + 1), rtol=0.02)
    np.testing.assert_allclose(low, -high)


def test_figures_that_move_together_cost_nothing_and_one_that_stands_still_has_no_width():
    column = np.random.default_rng(0).normal(size=40_000)
    table = np.stack([column, 2 * column, np.zeros(40_000)], axis=1)
    _, high = joint_bounds(np.zeros(3), table)
    np.testing.assert_allclose(high, [1.96, 3.92, 0.0], rtol=0.02)
