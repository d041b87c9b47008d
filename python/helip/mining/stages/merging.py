"""Merging: the pools of a target over its clusters become one."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import CorruptError
from helip.mining.stages.drops import Drops
from helip.mining.stages.job import Workplace
from helip.mining.stages.range_pools import PoolsSoFar, pools_of, write_pools
from helip.mining.stages.rows import BLOCK
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import UnitFile, open_unit_file
from helip.pairs.blocks import Pools
from helip.pairs.joining import join_pools
from helip.store.matrices import matrix_of

_FILLED = 512  # targets that are looked at together


def merge(place: Workplace, step: Step, unit: int) -> None:
    """Writes the pools of a range of targets, as `write_pools` says.

    They are the union of what the clusters of this round found and of the pools before it. Where a
    full pool of the base lost pairs, the base's pools of its rows fill it up.
    """
    job = place.job
    first, last = job.rows_of(unit)
    solve = Step("solve", step.round)
    solved = [
        open_unit_file(solve.place(job, each), job=job.digest) for each in range(job.clusters)
    ]
    drops = [Drops.of(file, first, last) for file in solved]
    if step.pools is not None:
        drops.append(Drops.of(pools_of(job, step.pools, unit), first, last))
    known = step.pools is not None or place.changes is not None
    before = PoolsSoFar(place, step.pools)
    merged = Pools.empty(last - first, job.kept, np.int32)
    for begin in range(first, last, BLOCK):
        end = min(begin + BLOCK, last)
        targets = np.arange(begin, end)
        found = _gathered(solved, begin, end, job.kept, job.most_clusters(step.round))
        if known:
            pools = before.of(targets)
            found = (
                np.concatenate([pools.ids, found[0]], axis=1),
                np.concatenate([pools.scores, found[1]], axis=1),
            )
        pools = united(place, targets, *found)
        if step.pools is None and place.changes is not None:
            _fill_up(place, targets, pools)
        merged.put(begin - first, pools)
    write_pools(job, step, unit, merged, drops)


def _fill_up(place: Workplace, targets: np.ndarray, pools: Pools) -> None:
    """Offers to pools that lost pairs what the base's pools of all their rows have."""
    assert place.changes is not None
    table = place.changes.table
    short = np.flatnonzero(place.changes.pools(targets)[1])
    for begin in range(0, len(short), _FILLED):
        some = short[begin : begin + _FILLED]
        near = table.ids[targets[some]].astype(np.int64)  # also of those that are gone
        theirs = np.where(near[:, :, None] >= 0, table.ids[near], -1).reshape(len(some), -1)
        theirs = place.changes.left(theirs)
        theirs[theirs == targets[some, None]] = -1
        left = Pools(*(values[some] for values in pools))
        offer(place, targets[some], left, without(distinct(theirs), left.ids))
        for values, better in zip(pools, left, strict=True):
            values[some] = better


def offer(place: Workplace, targets: np.ndarray, pools: Pools, candidates: np.ndarray) -> Drops:
    """Puts what is better of candidates [b, c], -1 for none, into the pools of targets [b].

    Returns the candidates that a rule kept out.
    """
    some = (candidates >= 0).any(axis=1)
    if not some.any():
        return Drops.none()
    found, dropped = ranked(place, targets[some], candidates[some])
    both = united(
        place, targets[some],
        np.concatenate([pools.ids[some], found.ids], axis=1),
        np.concatenate([pools.scores[some], found.scores], axis=1),
    )  # fmt: skip
    for values, better in zip(pools, both, strict=True):
        values[some] = better
    return dropped


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
        again, _ = ranked(place, targets[tied], ids[tied])
        for ours, theirs in zip(pools, again, strict=True):
            ours[tied] = theirs
    return pools


def ranked(place: Workplace, targets: np.ndarray, candidates: np.ndarray) -> tuple[Pools, Drops]:
    """The pools of targets [b] among candidates [b, c], -1 for none, scored in float64.

    Beside them what a rule kept out.
    """
    lists = matrix_of(np.ascontiguousarray(candidates, dtype=np.int64), name="candidates")
    options = place.core_options("exact")
    found: Any = _core.rerank_and_list_drops(*place.views, targets.tolist(), lists, options)
    pools, dropped = found
    return Pools(*pools), Drops(*dropped)


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


def distinct(rows: np.ndarray) -> np.ndarray:
    """[b, c] each row of a list once, sorted, -1 for none; columns without a row are left out."""
    rows = np.sort(rows, axis=1)
    rows[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
    return most_there(rows)


def most_there(rows: np.ndarray) -> np.ndarray:
    """[b, c] sorted, without the columns that are -1 in every row."""
    rows = np.sort(rows, axis=1)
    there = (rows >= 0).any(axis=0)
    return rows[:, rows.shape[1] - int(there.sum()) :]


def without(candidates: np.ndarray, pools: np.ndarray) -> np.ndarray:
    """``candidates`` [b, c] less those that are in the pool [b, k] of their target."""
    both = np.concatenate([candidates, pools], axis=1)
    order = np.argsort(both, axis=1, kind="stable")
    ordered = np.take_along_axis(both, order, axis=1)
    twice = np.zeros(both.shape, dtype=bool)
    twice[:, :-1] = ordered[:, :-1] == ordered[:, 1:]  # the candidate comes before the pool's
    known = np.zeros_like(twice)
    np.put_along_axis(known, order, twice, axis=1)
    return np.where(known[:, : candidates.shape[1]], -1, candidates)
