"""The interval of a share."""

from __future__ import annotations

import math

_Z = 1.959963984540054  # of the normal distribution, two-sided, 95 %


def wilson_interval(share: float, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, or of a mean in 0 … 1, of so many trials: (low, high).

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal of
    the American Statistical Association 22, 1927.
    """
    spread = 1.0 + _Z * _Z / trials
    middle = (share + _Z * _Z / (2 * trials)) / spread
    half = _Z / spread * math.sqrt(share * (1 - share) / trials + _Z * _Z / (4 * trials * trials))
    # Rounding must not take the share itself out of its interval, at 0 and 1.
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
