"""Routing: each row of a range goes to the clusters whose centres are closest."""

from __future__ import annotations

import numpy as np

from helip.mining.stages.job import Workplace
from helip.mining.stages.rows import BLOCK, closest, taken, unit_vectors
from helip.mining.stages.steps import CENTRES, Step
from helip.mining.stages.unit_files import new_unit_file, open_unit_file


def route(place: Workplace, step: Step, unit: int) -> None:
    """Writes the rows of a range by cluster.

    - ``assigned`` int32 [rows of the range, n]: the clusters of each row, best first; -1 for rows
      that are zero or deleted, which are in nobody's pool.
    - ``offsets`` int64 [clusters + 1]: where each cluster begins in what follows.
    - ``ids`` int64 [m], ascending within a cluster, and the values of these rows in the columns and
      the dtype of the store.

    The first round takes the ``overlap`` closest clusters, each later one the next closest alone.
    """
    import torch

    job = place.job
    first, last = job.rows_of(unit)
    file = open_unit_file(CENTRES.place(job, 0), job=job.digest)
    centres = torch.from_numpy(np.array(file["centres"]))
    own = taken(place.columns, slice(first, last))
    gone = _within(place.store.deleted, first, last)
    skipped = job.overlap + step.round - 1 if step.round else 0
    assigned = np.empty((last - first, 1 if step.round else job.overlap), dtype=np.int32)
    for begin in range(0, last - first, BLOCK):
        block = slice(begin, min(begin + BLOCK, last - first))
        rows, zero = unit_vectors({n: v[block] for n, v in own.items()}, place.dtype)
        assigned[block] = closest(rows, centres, skipped + assigned.shape[1])[:, skipped:]
        assigned[block][zero] = -1
    assigned[gone] = -1

    cluster, row = assigned.reshape(-1), np.repeat(np.arange(last - first), assigned.shape[1])
    order = np.lexsort((row, cluster))[int((cluster < 0).sum()) :]
    row = row[order]
    counts = np.bincount(cluster[order], minlength=job.clusters)
    shapes = {
        "assigned": (np.int32, assigned.shape),
        "offsets": (np.int64, (job.clusters + 1,)),
        "ids": (np.int64, (len(row),)),
        **{name: (v.dtype, (len(row), *v.shape[1:])) for name, v in own.items()},
    }
    with new_unit_file(step.place(job, unit), shapes, job=job.digest) as out:
        out.put("assigned", 0, assigned)
        out.put("offsets", 1, np.cumsum(counts))
        out.put("ids", 0, row + first)
        for begin in range(0, len(row), BLOCK):
            for name, values in own.items():
                out.put(name, begin, values[row[begin : begin + BLOCK]])


def _within(rows: np.ndarray, first: int, last: int) -> np.ndarray:
    """Of ascending row numbers those of a range, counted from its first."""
    return rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)] - first
