"""What queries came to: figures over them with their intervals, and paired differences of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from helip.evaluation.figures import RECALLS, placed
from helip.evaluation.statistics.intervals import (
    Floats,
    Ints,
    Statistic,
    intervals,
    resampled,
    trials_of,
)

SPARSE = 5  # queries of a kind, from which on it is resampled by itself


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
) -> Outcomes:
    """The shares of ``hits`` (name → bool [n]), and of the first of them those by kind of query.

    ``kinds`` int64 [n] are numbers of ``places``; the figure called ``mean`` averages the kinds
    that occur, and these have figures of their own.

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

    def statistic(weights: Floats) -> Floats:
        drawn = np.bincount(kinds, weights, minlength=count)[present]
        right = np.bincount(kinds, weights * table[:, 0], minlength=count)[present]
        each = np.divide(right, drawn, out=np.full(len(present), np.nan), where=drawn > 0)
        total = np.where(drawn > 0, each, shares)[~sparse].sum()
        weight = (drawn / filled)[sparse].sum()
        if weight > 0:
            total += sparse.sum() * (right / filled)[sparse].sum() / weight
        else:
            total += shares[sparse].sum()
        mean_share = total / len(present)
        return np.concatenate([(weights @ table) / weights.sum(), [mean_share], each])

    of_each = [trials_of(groups, (kinds == kind).astype(np.float64)) for kind in present]
    return Outcomes(
        statistic,
        [*((name,) for name in hits), (mean,), *(places[kind] for kind in present)],
        [n] * (len(hits) + 1) + filled.tolist(),
        [
            *[trials_of(groups, np.ones(n))] * len(hits),
            # As if each kind had as few as the smallest: one in which all came to the same would
            # else hide its uncertainty behind larger ones.
            len(present) * min(of_each),
            *of_each,
        ],
        n,
        groups,
    )
