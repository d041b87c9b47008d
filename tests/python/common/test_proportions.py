"""The interval of a share."""

from __future__ import annotations

import pytest

from helip.common.proportions import wilson_interval

scipy_stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("hits", "of"), [(0, 7), (3, 7), (7, 7), (81, 263), (1, 1)])
def test_the_interval_is_that_of_scipy(hits: int, of: int) -> None:
    limits = scipy_stats.binomtest(hits, of).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits / of, of) == pytest.approx((limits.low, limits.high), abs=1e-12)


def test_the_interval_is_that_of_newcombes_table() -> None:
    """R. G. Newcombe, Statistics in Medicine 17, 1998, table I, method 3: 81/263 and 0/20."""
    assert wilson_interval(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_a_share_lies_in_its_interval() -> None:
    """Also of 7 trials without a hit, where the lower limit was 3e-17 by rounding."""
    for trials in range(1, 200):
        for share in (0.0, 1.0):
            low, high = wilson_interval(share, trials)
            assert 0.0 <= low <= share <= high <= 1.0
