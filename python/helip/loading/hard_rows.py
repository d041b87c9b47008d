"""Which rows of a batch are hard pairs of which, where the batch is made of communities."""

from __future__ import annotations

import numpy as np

from helip.pairs.hard_pairs import HardPairs


def hard_rows(index: np.ndarray, table: HardPairs, first: int, last: int) -> np.ndarray:
    """For each row of a batch the batch rows that are in its window of ranks first .. last - 1.

    ``index`` int64 [b] has the data rows of the batch, all different. Returns int64 [b, m] with
    batch rows from left to right by rank, -1 where a row has fewer than m; m is at least 1.
    """
    order = np.argsort(index)
    ordered = index[order]
    window = np.asarray(table.ids[index, first:last])  # [b, ranks]; -1 beyond a pool
    at = np.minimum(np.searchsorted(ordered, window), len(index) - 1)
    inside = ordered[at] == window
    places = np.where(inside, order[at], -1)
    most = max(int(inside.sum(axis=1).max(initial=0)), 1)
    kept = np.argsort(~inside, axis=1, kind="stable")[:, :most]
    found: np.ndarray = np.take_along_axis(places, kept, axis=1)
    return found
