"""What queries came to, as figures with bootstrap intervals of 95 %: each for itself, and jointly.

Own code, since scipy's bootstrap draws single queries of one sample: here whole groups of queries
are drawn, two models answer the same draws, and figures of several samples are compared together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.options import Whole, check
from helip.common.proportions import Z, wilson_interval
from helip.evaluation.figures import RECALLS, placed

Figure = dict[str, Any]  # {"value": float, "low": float | None, "high": float | None, "n": int}
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Statistic = Callable[[Floats], Floats]

LEVEL = 0.95
#: The fewest queries between whose least and greatest the median lies with 95 % confidence, and by
#: which a sign test tells two models apart: 1 - 2 / 2^6.
FEWEST = 6
SPARSE = 5  # queries of a kind, from which on it is resampled by itself


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
    check("bootstrap", bootstrap, Whole)
    values = statistic(np.ones(n))
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    weights = resamples(n, groups=groups, bootstrap=bootstrap, seed=seed)
    rows = [statistic(w) for w in weights]
    return values, np.stack(rows) if rows else np.empty((0, len(values)))


def trials_of(groups: Ints | None, weights: Floats) -> float:
    """How many independent queries weigh as much as those of a mean with ``weights`` [n]: Kish's
    (Σ w)² / Σ w², where w are the sums of the groups."""
    sums = weights if groups is None else np.bincount(groups, weights).astype(np.float64)
    return float(sums.sum() ** 2 / (sums**2).sum())


def drawn_from(n: int, groups: Ints | None) -> int:
    """How many queries, or groups of them, a resample is drawn from."""
    return n if groups is None else len(np.unique(groups))


def joint_bounds(
    values: Floats,
    table: Floats,
    trials: Sequence[float | None],
    drawn: Sequence[int] | None = None,
    *,
    least: float = -1.0,
) -> tuple[Floats, Floats]:
    """Bounds that hold for all figures together in 95 % of samples, from their resamples.

    ``values`` [figures], ``table`` [bootstrap, figures]; row b of all figures is one resample. A
    figure's bounds lie as many standard errors from its value as the largest deviation of any
    figure does in 95 % of the resamples (max-T; Westfall and Young, 1993), and are never narrower
    than `wilson_bounds` with as many. A figure that no resample moves counts as one that moves
    independently of all others. One that is no mean has NaN for bounds where fewer than ``FEWEST``
    queries or groups are ``drawn`` from. Without resamples the bounds are the values.
    """
    if not len(table):
        return values, values
    errors = np.nanstd(table, axis=0)
    moving = errors > 0
    deviations = np.abs(np.random.default_rng(0).standard_normal(table.shape))
    deviations[:, moving] = np.abs(table[:, moving] - values[moving]) / errors[moving]
    z = max(Z, float(np.quantile(np.nanmax(deviations, axis=1), LEVEL)))
    low, high = wilson_bounds(values, errors, trials, least=least, z=z)
    bounds = np.stack([np.fmin(values - z * errors, low), np.fmax(values + z * errors, high)])
    for place, (count, queries) in enumerate(zip(trials, drawn or (), strict=drawn is not None)):
        if count is None and queries < FEWEST:
            bounds[:, place] = np.nan
    return bounds[0], bounds[1]


def wilson_bounds(
    values: Floats, errors: Floats, trials: Sequence[float | None], *, least: float, z: float = Z
) -> Floats:
    """Wilson's interval of means in ``least`` … 1 with standard ``errors``, [2, figures].

    ``trials`` of a figure are its independent queries; None, and NaN in the bounds, where it is no
    mean. Resamples alone would say of queries that all came to the same that nothing else can
    happen; so many queries leave more open. A difference over fewer than ``FEWEST`` holds zero.
    """
    bounds = np.full((2, len(values)), np.nan)
    span = 1.0 - least
    for place, (value, error, count) in enumerate(zip(values, errors, trials, strict=True)):
        if count is not None and not np.isnan([value, error]).any():
            share = wilson_interval((value - least) / span, count, (error / span) ** 2, z=z)
            bounds[:, place] = least + span * np.array(share)
            if least < 0 and count < FEWEST:
                bounds[:, place] = min(bounds[0, place], 0.0), max(bounds[1, place], 0.0)
    return bounds


def intervals(
    statistic: Statistic,
    sizes: Sequence[int],
    trials: Sequence[float | None],
    *,
    n: int,
    groups: Ints | None,
    bootstrap: int,
    seed: int,
    least: float = 0.0,
) -> list[Figure]:
    """Evaluate ``statistic`` on the sample and on its resamples.

    ``statistic`` takes weights, float64 [n], and gives one float64 a figure; NaN where a resample
    leaves a figure undefined. ``sizes`` are the ``n`` that the figures report. ``trials`` are as
    `wilson_bounds` takes them, for means in ``least`` … 1: their percentiles are never narrower. A
    figure that is no mean has no interval where fewer than ``FEWEST`` queries or groups are drawn
    from. Returns one ``{"value", "low", "high", "n"}`` a figure; ``low`` and ``high`` are None
    without resamples.
    """
    values, table = resampled(statistic, n=n, groups=groups, bootstrap=bootstrap, seed=seed)
    bounds = np.full((2, len(values)), np.nan)
    if bootstrap:
        defined = ~np.isnan(table).all(axis=0)
        tail = 50.0 * (1.0 - LEVEL)
        bounds[:, defined] = np.nanpercentile(table[:, defined], [tail, 100.0 - tail], axis=0)
        errors = np.full(len(values), np.nan)
        errors[defined] = np.nanstd(table[:, defined], axis=0)
        wilson = wilson_bounds(values, errors, trials, least=least)
        bounds = np.stack([np.fmin(bounds[0], wilson[0]), np.fmax(bounds[1], wilson[1])])
        if drawn_from(n, groups) < FEWEST:
            bounds[:, [count is None for count in trials]] = np.nan
    return [
        {
            "value": number_or_none(value),
            "low": number_or_none(low),
            "high": number_or_none(high),
            "n": int(size),
        }
        for value, low, high, size in zip(values, *bounds, sizes, strict=True)
    ]


def number_or_none(value: float) -> float | None:
    """The value; None for NaN."""
    return None if np.isnan(value) else float(value)


@dataclass(frozen=True)
class Outcomes:
    """Figures over ``n`` queries, and their places in a result."""

    statistic: Statistic
    places: Sequence[tuple[str, ...]]  # of each figure
    sizes: Sequence[int]  # the "n" that each figure reports
    trials: Sequence[float | None]  # independent queries of each mean; None of other figures
    n: int
    groups: Ints | None = None  # int64 [n]: queries of one group are resampled together
    least: float = 0.0  # of a mean; the greatest is 1

    def figures(self, *, bootstrap: int, seed: int) -> dict[str, Any]:
        """The figures at their places, each ``{"value", "low", "high", "n"}``."""
        found = intervals(
            self.statistic, self.sizes, self.trials, n=self.n, groups=self.groups,
            bootstrap=bootstrap, seed=seed, least=self.least,
        )  # fmt: skip
        return placed(self.places, found)

    def resampled(self, *, bootstrap: int, seed: int) -> tuple[Floats, Floats]:
        """The figures, and those of each resample, [bootstrap, figures]."""
        return resampled(
            self.statistic, n=self.n, groups=self.groups, bootstrap=bootstrap, seed=seed
        )

    def minus(self, other: Outcomes) -> Outcomes:
        """Paired differences: both are resampled with the same draws."""
        return replace(self, statistic=lambda w: self.statistic(w) - other.statistic(w), least=-1.0)


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """The figures of all, over the same queries: each resample is one of all figures."""
    return replace(
        parts[0],
        statistic=lambda weights: np.concatenate([part.statistic(weights) for part in parts]),
        places=[place for part in parts for place in part.places],
        sizes=[size for part in parts for size in part.sizes],
        trials=[count for part in parts for count in part.trials],
    )


def rank_outcomes(
    ranks: Ints, groups: Ints | None = None, *, place: tuple[str, ...] = ()
) -> Outcomes:
    """Of ranks, int64 [n] from 1: the share ≤ k for each k, the median, the mean of 1/rank.

    The median is the lower one where the two middle ranks differ, so it is always a rank that
    occurred.
    """
    means = np.column_stack([*(ranks <= k for k in RECALLS), 1.0 / ranks]).astype(np.float64)
    order = np.argsort(ranks, kind="stable")

    def statistic(weights: Floats) -> Floats:
        total = weights.sum()
        median = ranks[order[np.searchsorted(np.cumsum(weights[order]), total / 2)]]
        *shares, reciprocal = (weights @ means) / total
        return np.array([*shares, median, reciprocal])

    names = (*(f"recall@{k}" for k in RECALLS), "median_rank", "mean_reciprocal_rank")
    places = [(*place, name) for name in names]
    trials = trials_of(groups, np.ones(len(ranks)))
    return Outcomes(
        statistic, places, [len(ranks)] * len(places),
        [None if name == "median_rank" else trials for name in names], len(ranks), groups,
    )  # fmt: skip


def share_outcomes(
    hits: Mapping[str, Any],
    kinds: Ints,
    mean: str,
    places: Sequence[tuple[str, ...]],
    groups: Ints | None = None,
    *,
    parts: Mapping[tuple[str, ...], Sequence[int]] | None = None,
) -> Outcomes:
    """The shares of ``hits`` (name → bool [n]), and of the first of them those by kind of query.

    ``kinds`` int64 [n] are numbers of ``places``; the figure called ``mean`` averages the kinds
    that occur, and these have figures of their own. ``parts`` are further means, place → numbers of
    kinds.

    A resample may miss a kind of few queries. Were it left out of the mean, the interval would move
    towards the kinds of many, so that kinds of fewer than ``SPARSE`` queries are resampled as one
    stratum in which each of them weighs the same ("collapsed strata", Cochran, Sampling Techniques,
    1977, 5A.12), and a larger one that is missed keeps its share.
    """
    table = np.column_stack(list(hits.values())).astype(np.float64)
    n, count = len(table), len(places)
    sizes = np.bincount(kinds, minlength=count)
    present = np.flatnonzero(sizes).tolist()
    filled = sizes[present]
    sparse = filled < SPARSE
    shares = np.bincount(kinds, table[:, 0], minlength=count)[present] / filled
    means: dict[tuple[str, ...], Any] = {(mean,): np.ones(len(present), dtype=np.bool_)}
    for place, chosen in (parts or {}).items():
        if (members := np.isin(present, chosen)).any():
            means[place] = members

    def statistic(weights: Floats) -> Floats:
        drawn = np.bincount(kinds, weights, minlength=count)[present]
        right = np.bincount(kinds, weights * table[:, 0], minlength=count)[present]
        each = np.divide(right, drawn, out=np.full(len(present), np.nan), where=drawn > 0)
        filling = np.where(drawn > 0, each, shares)

        def mean_of(chosen: Any) -> float:
            total, few = filling[~sparse & chosen].sum(), sparse & chosen
            weight = (drawn / filled)[few].sum()
            if weight > 0:
                total += few.sum() * (right / filled)[few].sum() / weight
            else:
                total += shares[few].sum()
            return float(total / chosen.sum())

        averages = [mean_of(chosen) for chosen in means.values()]
        return np.concatenate([(weights @ table) / weights.sum(), averages, each])

    of_each = [trials_of(groups, (kinds == kind).astype(np.float64)) for kind in present]
    return Outcomes(
        statistic,
        [*((name,) for name in hits), *means, *(places[kind] for kind in present)],
        [n] * len(hits) + [filled[chosen].sum() for chosen in means.values()] + filled.tolist(),
        [
            *[trials_of(groups, np.ones(n))] * len(hits),
            # As if each kind had as few as the smallest: one in which all came to the same would
            # else hide its uncertainty behind larger ones.
            *(chosen.sum() * np.min(of_each, where=chosen, initial=n) for chosen in means.values()),
            *of_each,
        ],
        n,
        groups,
    )
