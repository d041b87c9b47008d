"""The interval of a share."""

from __future__ import annotations

import math

Z = 1.959963984540054  # of the normal distribution, two-sided, 95 %


def wilson_interval(
    share: float, trials: float, variance: float | None = None, *, z: float = Z
) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, or of a mean in 0 … 1, of so many trials: (low, high).

    ``variance`` is that of the share, where the trials are not all 0 or 1, or not independent, such
    as the variance over resamples; by default share (1 - share) / trials. However small it is, the
    interval stays as wide as so many trials allow: none of n leaves z² / (n + z²). ``z`` standard
    errors in place of 1.96 give another level.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of
    the American Statistical Association 22, 1927.
    """
    if variance is None:
        variance = share * (1 - share) / trials
    spread = 1.0 + z * z / trials
    middle = (share + z * z / (2 * trials)) / spread
    half = z / spread * math.sqrt(variance + z * z / (4 * trials * trials))
    # Rounding must not take the share itself out of its interval, at 0 and 1.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
