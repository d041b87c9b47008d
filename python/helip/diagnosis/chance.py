"""What would be so by chance alone: hard pairs in a random batch, and crowded rows."""

from __future__ import annotations

import math

import numpy as np

from helip.diagnosis.groups import Ints

TOP = 0.01  # share of the rows that are called the top


def members_by_chance(window: float, batch_size: int, rows: int) -> float:
    """How many of a row's ``window`` hard pairs a random batch that holds it holds as well.

    Each other row is in the batch with probability (batch_size - 1) / (rows - 1).
    """
    if rows < 2:
        return 0.0
    return window * (min(batch_size, rows) - 1) / (rows - 1)


def none_by_chance(window: int, batch_size: int, rows: int) -> float:
    """Probability that a random batch that holds a row holds none of its ``window`` hard pairs.

    Hypergeometric: the other batch_size - 1 rows are drawn without replacement.
    """
    others, drawn = rows - 1, min(batch_size, rows) - 1
    if others - drawn < window:
        return 0.0
    return math.prod(1.0 - drawn / (others - place) for place in range(window))


def mean_none_by_chance(members: Ints, batch_size: int, rows: int) -> float:
    """`none_by_chance`, on average over the rows that have hard pairs; 1 where there are none.

    ``members`` int64 [n] are the hard pairs of each row.
    """
    sizes, counts = np.unique(members[members > 0], return_counts=True)
    if not len(sizes):
        return 1.0
    nones = [none_by_chance(size, batch_size, rows) for size in sizes.tolist()]
    return float(np.average(nones, weights=counts))


def coverage(members: Ints, others: int) -> float:
    """Share of the ``others`` places beside each row of a community that its own hard pairs can
    fill: 1 where every row has so many, 0.02 where a fiftieth has and the rest have none."""
    return float(np.minimum(members, others).mean() / others) if len(members) else 0.0


def top_share_by_chance(mean: float) -> float:
    """Share of all places that the top 1 % of rows hold where places fall on rows at random.

    The in-degree of a row is then Poisson distributed with this ``mean``.
    """
    if mean <= 0:
        return 0.0
    degree, probability = 0, math.exp(-mean)
    below, held = 0.0, 0.0  # share of the rows, and of the places, up to this degree
    while below + probability < 1.0 - TOP:
        below += probability
        held += probability * degree
        degree += 1
        probability *= mean / degree
    # Of the rows with the degree at the border as many as fill up the 99 %.
    held += (1.0 - TOP - below) * degree
    return 1.0 - held / mean
