"""The windows of ranks that are told apart, and draws of columns within them."""

from __future__ import annotations

import numpy as np

from helip.diagnosis.groups import Bools, Ints

#: First and one past the last rank, from 0.
RANKS = ((0, 10), (10, 30), (30, 100))


def rank_windows(k: int, window: int) -> list[tuple[int, int]]:
    """The window that is asked about, then those of RANKS that a pool of ``k`` has."""
    found = [(0, min(window, k))]
    return found + [(first, min(last, k)) for first, last in RANKS if first < k]


def drawn_places(allowed: Bools, count: int, generator: np.random.Generator) -> Ints:
    """int64 [T, count]: columns drawn at random among those ``allowed`` [T, k]; -1 beyond."""
    keys = np.where(allowed, generator.random(allowed.shape), np.inf)
    order = np.argsort(keys, axis=1, kind="stable")[:, :count]
    chosen = np.where(np.take_along_axis(allowed, order, 1), order, -1)
    return np.pad(chosen, ((0, 0), (0, count - chosen.shape[1])), constant_values=-1)
