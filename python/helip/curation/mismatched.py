"""Which captions are wrong: pairs that agree no better than pictures with captions of other rows.

The captions are exchanged at random among the rows. That gives as many pairs as there are rows, of
which nearly all are wrong. Fisher's linear discriminant of the features (`agreement`) between the
exchanged pairs and those of the data makes one score, greater for pairs that agree. The pairs of
the data are a mixture: a share p0 scores as exchanged pairs do, f = p0 f0 + (1 - p0) f1. p0 is
estimated from the lowest scores, as Storey (2002) does from the largest p-values, and the
probability that a pair with score s is a wrong one is p0 f0(s) / f(s), Efron's local false
discovery rate (2004); f / f0 rises with s, and is fitted so. Comparing captions of near pictures is
due to LEMoN (Zhang et al. 2025, arXiv 2407.18941).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from helip.curation.agreement import NAMES, Neighbourhoods
from helip.curation.similar_rows import Floats, Ints

FEWEST = 100  # rows with both embeddings, below which nothing is estimated
LOWEST = 0.25  # share of the exchanged pairs whose scores tell p0
_MOST_STEPS = 20_000  # of the rising fit
_RIDGE = 1e-6

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Mismatch:
    """What was found of all rows."""

    probability: Floats  # [N], NaN where a row could not be judged
    score: Floats  # [N], greater where picture and caption agree
    noise_rate: float  # p0, estimated; NaN where nothing was
    weights: dict[str, float]  # of the standardised features


def mismatch(
    neighbourhoods: Neighbourhoods, readable: npt.NDArray[np.bool_], seed: int
) -> Mismatch:
    """Probabilities that captions are wrong; with cross-scores the greater one of those with them
    and without. A model that learnt the wrong captions finds them right, and does not hide what
    the neighbours tell."""
    own = neighbourhoods.features(np.arange(len(readable), dtype=np.int64))
    exchanged = neighbourhoods.features(exchange(readable, seed))
    names = neighbourhoods.names
    found = _judged(own[:, : len(NAMES)], exchanged[:, : len(NAMES)], readable, names[: len(NAMES)])
    if len(names) == len(NAMES):
        return found
    with_model = _judged(own, exchanged, readable, names)
    return Mismatch(
        np.fmax(found.probability, with_model.probability),
        with_model.score,
        float(np.fmax(found.noise_rate, with_model.noise_rate)),
        with_model.weights,
    )


def _judged(
    own: Floats, exchanged: Floats, readable: npt.NDArray[np.bool_], names: tuple[str, ...]
) -> Mismatch:
    blank = np.full(len(readable), np.nan, dtype=np.float32)
    known = readable & ~np.isnan(own).any(axis=1)
    others = exchanged[readable & ~np.isnan(exchanged).any(axis=1)].astype(np.float64)
    if min(int(known.sum()), len(others)) < FEWEST:
        return Mismatch(blank, blank, float("nan"), {})
    scores, null, weights = discriminant(own[known].astype(np.float64), others)
    found, noise_rate = wrong_probability(scores, null)
    probability, score = blank.copy(), blank.copy()
    probability[known], score[known] = found, scores
    return Mismatch(probability, score, noise_rate, dict(zip(names, weights.tolist(), strict=True)))


def exchange(readable: npt.NDArray[np.bool_], seed: int) -> Ints:
    """int64 [N]: the caption of which row each row gets; readable ones exchange theirs in one
    random cycle, so that none keeps its own."""
    order = np.random.default_rng([seed, 0]).permutation(np.flatnonzero(readable))
    caption_of = np.arange(len(readable), dtype=np.int64)
    caption_of[order] = np.roll(order, 1)
    return caption_of


def discriminant(own: Doubles, null: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Scores of ``own`` [n, d] and of ``null`` [m, d] along Fisher's linear discriminant, and its
    weights [d] of the features, which are standardised by ``null``."""
    middle, spread = null.mean(axis=0), null.std(axis=0)
    spread = np.where(spread > 1e-9, spread, np.inf)  # a constant tells nothing
    own, null = (own - middle) / spread, (null - middle) / spread
    scatter = np.cov(own.T) + np.cov(null.T) + _RIDGE * np.eye(own.shape[1])
    weights = np.linalg.solve(scatter, own.mean(axis=0) - null.mean(axis=0))
    return own @ weights, null @ weights, weights


def wrong_probability(scores: Doubles, null: Doubles) -> tuple[Doubles, float]:
    """The probability [n] that each of ``scores`` is one of ``null``'s kind, and their share p0."""
    noise_rate = float((scores <= np.quantile(null, LOWEST)).mean() / LOWEST)
    noise_rate = min(noise_rate, 1.0)
    both = np.concatenate([scores, null])
    order = np.argsort(both, kind="stable")
    own = (order < len(scores)).astype(np.float64)
    # So many scores in each step, of which the last may have fewer.
    starts = np.arange(0, len(both), -(-len(both) // _MOST_STEPS))
    sizes = np.diff(np.append(starts, len(both)))
    share = rising(np.add.reduceat(own, starts) / sizes, sizes)
    ratio = (1 - share) / np.maximum(share, 1e-12) * (len(scores) / len(null))  # f0 / f
    probability = np.empty(len(both))
    probability[order] = np.repeat(np.minimum(1.0, noise_rate * ratio), sizes)
    return probability[: len(scores)], noise_rate


def rising(values: Doubles, weights: npt.NDArray[Any]) -> Doubles:
    """The closest values that never fall, by weighted least squares: pool adjacent violators."""
    means: list[float] = []
    totals: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        means.append(value)
        totals.append(weight)
        counts.append(1)
        while len(means) > 1 and means[-2] >= means[-1]:
            total = totals[-2] + totals[-1]
            means[-2:] = [(means[-2] * totals[-2] + means[-1] * totals[-1]) / total]
            totals[-2:], counts[-2:] = [total], [counts[-2] + counts[-1]]
    return np.repeat(means, counts)
