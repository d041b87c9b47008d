"""Bootstrap confidence intervals over queries (percentile method, 95 %)."""

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


def intervals(
    statistic: Statistic,
    sizes: Sequence[int],
    *,
    n: int,
    groups: Ints | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> list[Figure]:
    """Evaluate ``statistic`` on the sample and on its resamples.

    ``statistic`` takes weights, float64 [n], and gives one float64 a figure; NaN where a resample
    leaves a figure undefined. ``sizes`` are the ``n`` that the figures report. Returns one
    ``{"value", "low", "high", "n"}`` a figure; ``low`` and ``high`` are None without resamples.
    """
    if bootstrap < 0:
        raise InvalidArgumentError(f"bootstrap is {bootstrap}; give 0 (no intervals) or more")
    values = statistic(np.ones(n))
    bounds = np.full((2, len(values)), np.nan)
    if bootstrap and n:
        weights = resamples(n, groups=_dense(groups), bootstrap=bootstrap, seed=seed)
        table = np.stack([statistic(w) for w in weights])
        defined = ~np.isnan(table).all(axis=0)
        tail = 50.0 * (1.0 - LEVEL)
        bounds[:, defined] = np.nanpercentile(table[:, defined], [tail, 100.0 - tail], axis=0)
    return [
        {"value": _number(value), "low": _number(low), "high": _number(high), "n": int(size)}
        for value, low, high, size in zip(values, bounds[0], bounds[1], sizes, strict=True)
    ]


def rank_statistic(ranks: Ints, ks: Sequence[int]) -> Statistic:
    """Figures of ranks, int64 [n] from 1: the share ≤ k for each k, the median, the mean of 1/rank.

    The median is the lower one where the two middle ranks differ, so it is always a rank that
    occurred.
    """
    means = np.column_stack([*(ranks <= k for k in ks), 1.0 / ranks]).astype(np.float64)
    order = np.argsort(ranks, kind="stable")
    ordered = ranks[order]

    def statistic(weights: Floats) -> Floats:
        total = weights.sum()
        if total == 0:
            return np.full(len(ks) + 2, np.nan)
        cumulated = np.cumsum(weights[order])
        median = ordered[np.searchsorted(cumulated, total / 2)]
        shares = (weights @ means) / total
        return np.concatenate([shares[:-1], [float(median)], shares[-1:]])

    return statistic


def _dense(groups: Ints | None) -> Ints | None:
    return None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int64)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
