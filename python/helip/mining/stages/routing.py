"""Routing: each row of a range goes to the clusters whose centres are closest."""

from __future__ import annotations

import numpy as np
import torch

from helip.mining.stages.job import Workplace
from helip.mining.stages.rows import BLOCK, Columns, closest, taken, unit_vectors
from helip.mining.stages.steps import CENTRES, MOST_ROUNDS, Step
from helip.mining.stages.unit_files import open_unit_file, write_unit_file
from helip.mining.stages.widening import chosen


def route(place: Workplace, step: Step, unit: int) -> None:
    """Writes the rows of a range by cluster.

    - ``assigned`` int32 [rows of the range, n]: the clusters of each row, best first; -1 for none,
      as of rows that are zero or deleted, which are in nobody's pool.
    - ``offsets`` int64 [clusters + 1]: where each cluster begins in what follows.
    - ``ids`` int64 [m], ascending within a cluster, and the values of these rows in the columns and
      the dtype of the store.

    The first round takes the closest clusters, as many as `StageJob.clusters_of` says, and writes
    ``later`` int32 [rows of the range, rounds], the next closest ones, with ``gaps`` float32: how
    far a row is from the border behind which that cluster is closer than its closest one. In later
    rounds the rows that `widening.chosen` names go to their next one, and no other row is read.
    """
    job = place.job
    first, last = job.rows_of(unit)
    arrays: dict[str, np.ndarray] = {}
    if step.round:
        assigned = chosen(place, step, unit)[:, None]
        rows = np.flatnonzero(assigned[:, 0] >= 0)
        own = taken(place.columns, rows + first)
    else:
        rows = np.arange(last - first)
        own = taken(place.columns, slice(first, last))
        assigned, arrays["later"], arrays["gaps"] = _closest_clusters(place, own, first)

    cluster, row = assigned[rows].reshape(-1), np.repeat(np.arange(len(rows)), assigned.shape[1])
    order = np.lexsort((row, cluster))[int((cluster < 0).sum()) :]
    row = row[order]
    counts = np.bincount(cluster[order], minlength=job.clusters)
    arrays |= {
        "assigned": assigned,
        "offsets": np.concatenate([[0], np.cumsum(counts)]),
        "ids": rows[row] + first,
        **{name: values[row] for name, values in own.items()},
    }
    write_unit_file(step.place(job, unit), arrays, job=job.digest)


def _closest_clusters(
    place: Workplace, own: Columns, first: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``assigned``, ``later`` and ``gaps`` of the rows from ``first`` on."""
    job, count = place.job, len(next(iter(own.values())))
    file = open_unit_file(CENTRES.place(job, 0), job=job.digest)
    centres = torch.from_numpy(np.array(file["centres"]))
    fresh = np.ones(count, dtype=bool)
    if place.changes is not None:
        fresh = place.changes.fresh(np.arange(first, first + count))
    at_first = np.where(fresh, job.clusters_of(True), job.clusters_of(False))
    assigned = np.full((count, job.clusters_of(True)), -1, dtype=np.int32)
    later = np.full((count, MOST_ROUNDS), -1, dtype=np.int32)
    gaps = np.full(later.shape, np.inf, dtype=np.float32)
    width = min(job.clusters_of(True) + MOST_ROUNDS, job.clusters)
    for begin in range(0, count, BLOCK):
        block = slice(begin, min(begin + BLOCK, count))
        rows, zero = unit_vectors({n: v[block] for n, v in own.items()}, place.dtype)
        near, products = closest(rows, centres, width)
        ranks = np.arange(assigned.shape[1])
        there = (ranks < at_first[block, None]) & (ranks < width) & ~zero[:, None]
        assigned[block] = np.where(there, near[:, np.minimum(ranks, width - 1)], -1)
        for rank in range(MOST_ROUNDS):
            at = at_first[block] + rank
            there = (at < width) & ~zero
            at = np.minimum(at, width - 1)[:, None]
            next_one = np.take_along_axis(near, at, axis=1)[:, 0]
            gap = products[:, 0] - np.take_along_axis(products, at, axis=1)[:, 0]
            apart = (centres[near[:, 0]] - centres[next_one]).norm(dim=1).numpy()
            later[block, rank] = np.where(there, next_one, -1)
            gaps[block, rank] = np.where(there, gap / np.maximum(apart, 1e-12), np.inf)
    gone = _within(place.store.deleted, first, first + count)
    assigned[gone], later[gone], gaps[gone] = -1, -1, np.inf
    return assigned, later, gaps


def _within(rows: np.ndarray, first: int, last: int) -> np.ndarray:
    """Of ascending row numbers those of a range, counted from its first."""
    return rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)] - first
