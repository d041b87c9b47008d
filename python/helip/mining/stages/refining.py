"""Refining: neighbours of neighbours that no cluster has shown to their target."""

from __future__ import annotations

import numpy as np

from helip.mining.stages.job import StageJob, Workplace
from helip.mining.stages.merging import pool_shapes, pools_of, put_pools, ranked, united
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import UnitFile, new_unit_file, open_unit_file
from helip.pairs.growing_pairs import Pools

_NEIGHBOURS = 32  # as in method partition
_BLOCK = 512  # targets that are looked at together


def refine(place: Workplace, step: Step, unit: int) -> None:
    """Writes the pools of a range of targets anew, with what their neighbours' pools add.

    Rows that share a cluster with the target have been compared with it there. The others are
    scored in float64.
    """
    job = place.job
    assert step.pools is not None
    first, last = job.rows_of(unit)
    look = Lookup(job, step.pools, step.round)
    own = pools_of(job, step.pools, unit)
    gained = 0
    shapes = pool_shapes(job, unit)
    with new_unit_file(step.place(job, unit), shapes, job=job.digest) as out:
        for begin in range(0, last - first, _BLOCK):
            block = slice(begin, min(begin + _BLOCK, last - first))
            pools = Pools(*(np.array(own[name][block]) for name in Pools._fields))
            targets = np.arange(first + block.start, first + block.stop)
            candidates = look.candidates(targets, pools.ids)
            some = (candidates >= 0).any(axis=1)
            if some.any():
                found = ranked(place, targets[some], candidates[some])
                both = united(
                    place, targets[some],
                    np.concatenate([pools.ids[some], found.ids], axis=1),
                    np.concatenate([pools.scores[some], found.scores], axis=1),
                )  # fmt: skip
                gained += int((both.ids != pools.ids[some]).any(axis=1).sum())
                for ours, theirs in zip(pools, both, strict=True):
                    ours[some] = theirs
            put_pools(out, block.start, pools)


class Lookup:
    """Pools and clusters of any row, over the maps of their files."""

    def __init__(self, job: StageJob, pools: Step, round: int) -> None:
        self._job, self._pools = job, pools
        self._rounds = [Step("route", each) for each in range(round + 1)]
        self._files: dict[tuple[str, int], UnitFile] = {}

    def candidates(self, targets: np.ndarray, pools: np.ndarray) -> np.ndarray:
        """int32 [b, c] different rows, -1 for none: in no cluster and no pool of their target."""
        near = self.neighbours(pools[:, :_NEIGHBOURS].reshape(-1)).reshape(len(targets), -1)
        near.sort(axis=1)
        near[:, 1:][near[:, 1:] == near[:, :-1]] = -1
        near[near == targets[:, None]] = -1
        near = _most_there(near)
        theirs = self.clusters(near.reshape(-1)).reshape(*near.shape, -1)
        ours = self.clusters(targets)
        shared = np.zeros(near.shape, dtype=bool)
        for i in range(ours.shape[1]):
            for j in range(theirs.shape[2]):
                shared |= theirs[:, :, j] == ours[:, i, None]
        near[shared] = -1
        near = _without(_most_there(near), pools.astype(np.int32))
        return _most_there(near)

    def neighbours(self, rows: np.ndarray) -> np.ndarray:
        """int32 [b, n]: the best of the pools of these rows, -1 where there is none."""
        return self._of(rows, self._pools, "ids")

    def clusters(self, rows: np.ndarray) -> np.ndarray:
        """int32 [b, n]: the clusters of these rows; none for row -1."""
        return np.concatenate([self._of(rows, step, "assigned") for step in self._rounds], axis=1)

    def _of(self, rows: np.ndarray, step: Step, name: str) -> np.ndarray:
        """Rows of an array that lies in units; -1 where a row is -1."""
        width = self._file(step, 0)[name].shape[1]
        width = min(width, _NEIGHBOURS) if name == "ids" else width
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        found = np.full((len(rows), width), -1, dtype=np.int32)
        each = self._job.unit_rows
        begin = int(np.searchsorted(ordered, 0))
        while begin < len(rows):
            unit = int(ordered[begin]) // each
            end = int(np.searchsorted(ordered, (unit + 1) * each))
            found[order[begin:end]] = self._file(step, unit)[name][
                ordered[begin:end] - unit * each, :width
            ]
            begin = end
        return found

    def _file(self, step: Step, unit: int) -> UnitFile:
        key = (step.name, unit)
        if key not in self._files:
            self._files[key] = open_unit_file(step.place(self._job, unit), job=self._job.digest)
        return self._files[key]


def _most_there(rows: np.ndarray) -> np.ndarray:
    """[b, c] sorted, without the columns that are -1 in every row."""
    rows = np.sort(rows, axis=1)
    there = (rows >= 0).any(axis=0)
    return rows[:, rows.shape[1] - int(there.sum()) :]


def _without(candidates: np.ndarray, pools: np.ndarray) -> np.ndarray:
    """``candidates`` [b, c] less those that are in the pool [b, k] of their target."""
    both = np.concatenate([candidates, pools], axis=1)
    order = np.argsort(both, axis=1, kind="stable")
    ordered = np.take_along_axis(both, order, axis=1)
    twice = np.zeros(both.shape, dtype=bool)
    twice[:, :-1] = ordered[:, :-1] == ordered[:, 1:]  # the candidate comes before the pool's
    known = np.zeros_like(twice)
    np.put_along_axis(known, order, twice, axis=1)
    return np.where(known[:, : candidates.shape[1]], -1, candidates)
