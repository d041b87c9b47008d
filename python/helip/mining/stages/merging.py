"""Merging: the pools of a target over its clusters become one."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import CorruptError
from helip.mining.stages.job import StageJob, Workplace
from helip.mining.stages.rows import BLOCK
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import (
    Shapes,
    UnitFile,
    UnitWriter,
    new_unit_file,
    open_unit_file,
)
from helip.pairs.growing_pairs import Pools
from helip.pairs.joining import join_pools
from helip.store.matrices import matrix_of


def merge(place: Workplace, step: Step, unit: int) -> None:
    """Writes the pools of a range of targets, as `pool_shapes` has them.

    They are the union of what the clusters of this round found and of the pools before it.
    """
    job = place.job
    first, last = job.rows_of(unit)
    solve = Step("solve", step.round)
    solved = [
        open_unit_file(solve.place(job, each), job=job.digest) for each in range(job.clusters)
    ]
    before = None if step.pools is None else pools_of(job, step.pools, unit)
    with new_unit_file(step.place(job, unit), pool_shapes(job, unit), job=job.digest) as out:
        for begin in range(first, last, BLOCK):
            end = min(begin + BLOCK, last)
            found = _gathered(solved, begin, end, job.kept, job.overlap + step.round)
            if before is not None:
                block = slice(begin - first, end - first)
                found = (
                    np.concatenate([before["ids"][block], found[0]], axis=1),
                    np.concatenate([before["scores"][block], found[1]], axis=1),
                )
            put_pools(out, begin - first, united(place, np.arange(begin, end), *found))


def pool_shapes(job: StageJob, unit: int) -> Shapes:
    """``ids`` int32 [n, k + skip], -1 beyond ``counts`` int32 [n], and ``scores`` float32."""
    first, last = job.rows_of(unit)
    shape = (last - first, job.kept)
    return {
        "ids": (np.int32, shape),
        "scores": (np.float32, shape),
        "counts": (np.int32, shape[:1]),
    }


def put_pools(out: UnitWriter, first: int, pools: Pools) -> None:
    """Writes the pools of a block of targets."""
    for name, values in pools._asdict().items():
        out.put(name, first, values)


def pools_of(job: StageJob, step: Step, unit: int) -> UnitFile:
    """The pools of a range of targets, as merge or refine left them."""
    return open_unit_file(step.place(job, unit), job=job.digest)


def united(place: Workplace, targets: np.ndarray, ids: np.ndarray, scores: np.ndarray) -> Pools:
    """The best k + skip different pairs of each target [b] among ``ids`` [b, m], -1 for none.

    By score, then by row number, as the core orders them. Its scores are float64, and here are
    float32: where two are equal, also where the pool is cut, the core ranks the pairs again.
    """
    kept = place.job.kept
    joined = join_pools(ids.astype(np.int64), scores, kept + 1)
    there = joined.ids[:, 1:] >= 0
    tied = ((joined.scores[:, 1:] == joined.scores[:, :-1]) & there).any(axis=1)
    pools = Pools(joined.ids[:, :kept], joined.scores[:, :kept], np.minimum(joined.counts, kept))
    if tied.any():
        again = ranked(place, targets[tied], ids[tied])
        for ours, theirs in zip(pools, again, strict=True):
            ours[tied] = theirs
    return pools


def ranked(place: Workplace, targets: np.ndarray, candidates: np.ndarray) -> Pools:
    """The pools of targets [b] among candidates [b, c], -1 for none, scored in float64."""
    lists = matrix_of(np.ascontiguousarray(candidates, dtype=np.int64), name="candidates")
    found: Any = _core.rerank(*place.views, targets.tolist(), lists, place.core_options("exact"))
    return Pools(*found)


def _gathered(
    solved: list[UnitFile], first: int, last: int, kept: int, slots: int
) -> tuple[np.ndarray, np.ndarray]:
    """ids and scores [last - first, slots · kept] of the pools that clusters have of a range."""
    ids = np.full((last - first, slots, kept), -1, dtype=np.int32)
    scores = np.zeros((last - first, slots, kept), dtype=np.float32)
    used = np.zeros(last - first, dtype=np.int64)
    for file in solved:
        begin, end = np.searchsorted(file["targets"], (first, last))
        if begin == end:
            continue
        rows = file["targets"][begin:end] - first
        if used[rows].max() >= slots:
            raise CorruptError(f"{file.path} has a target of more clusters than it was routed to")
        ids[rows, used[rows]] = file["ids"][begin:end]
        scores[rows, used[rows]] = file["scores"][begin:end]
        used[rows] += 1
    return ids.reshape(len(ids), -1), scores.reshape(len(ids), -1)
