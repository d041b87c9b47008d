"""What would be so by chance alone: hard pairs in a random batch, and crowded rows."""

from __future__ import annotations

import math

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
