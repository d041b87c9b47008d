"""Bootstrap confidence intervals over queries, 95 %: of one figure, and of several jointly.

Own code, since scipy's bootstrap draws single queries of one sample: here whole groups of queries
are drawn, two models answer the same draws, and figures of several samples are judged together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.errors import InvalidArgumentError

Figure = dict[str, Any]  # {"value": float, "low": float | None, "high": float | None, "n": int}
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Statistic = Callable[[Floats], Floats]

LEVEL = 0.95


def resamples(n: int, *, groups: Ints | None, bootstrap: int, seed: int) -> Iterator[Floats]:
    """Yield ``bootstrap`` weight vectors, float64 [n]: how often a resample drew each query.

    With ``groups`` (int64 [n], values in [0, n)) whole groups are drawn, because queries of one
    group, such as the five captions of a picture, are right or wrong together.
    """
    generator = np.random.default_rng(seed)
    drawn_from = n if groups is None else int(groups.max()) + 1
    for _ in range(bootstrap):
        draw = generator.integers(0, drawn_from, size=drawn_from)
        weights = np.bincount(draw, minlength=drawn_from).astype(np.float64)
        yield weights if groups is None else weights[groups]


def resampled(
    statistic: Statistic, *, n: int, groups: Ints | None, bootstrap: int, seed: int
) -> tuple[Floats, Floats]:
    """``statistic`` of the sample, [figures], and of its resamples, [bootstrap, figures]."""
    if bootstrap < 0:
        raise InvalidArgumentError(f"bootstrap is {bootstrap}; give 0 (no intervals) or more")
    values = statistic(np.ones(n))
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    weights = resamples(n, groups=groups, bootstrap=bootstrap, seed=seed)
    rows = [statistic(w) for w in weights]
    return values, np.stack(rows) if rows else np.empty((0, len(values)))


def joint_bounds(values: Floats, table: Floats) -> tuple[Floats, Floats]:
    """Bounds that hold for all figures together in 95 % of samples, from their resamples.

    ``values`` [figures], ``table`` [bootstrap, figures]; row b of all figures is one resample. A
    figure's bounds lie as many standard errors from its value as the largest deviation of any
    figure does in 95 % of the resamples (max-T; Westfall and Young, 1993).
    """
    errors = np.nanstd(table, axis=0)
    moving = errors > 0
    if not moving.any():
        return values, values
    deviations = np.abs(table[:, moving] - values[moving]) / errors[moving]
    reach = np.quantile(np.nanmax(deviations, axis=1), LEVEL) * errors
    return values - reach, values + reach


def intervals(
    statistic: Statistic,
    sizes: Sequence[int],
    *,
    n: int,
    groups: Ints | None,
    bootstrap: int,
    seed: int,
) -> list[Figure]:
    """Evaluate ``statistic`` on the sample and on its resamples.

    ``statistic`` takes weights, float64 [n], and gives one float64 a figure; NaN where a resample
    leaves a figure undefined. ``sizes`` are the ``n`` that the figures report. Returns one
    ``{"value", "low", "high", "n"}`` a figure; ``low`` and ``high`` are None without resamples.
    """
    values, table = resampled(statistic, n=n, groups=groups, bootstrap=bootstrap, seed=seed)
    bounds = np.full((2, len(values)), np.nan)
    if bootstrap:
        defined = ~np.isnan(table).all(axis=0)
        tail = 50.0 * (1.0 - LEVEL)
        bounds[:, defined] = np.nanpercentile(table[:, defined], [tail, 100.0 - tail], axis=0)
    return [
        {"value": _number(value), "low": _number(low), "high": _number(high), "n": int(size)}
        for value, low, high, size in zip(values, *bounds, sizes, strict=True)
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
