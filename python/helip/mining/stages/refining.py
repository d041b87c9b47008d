"""Refining: neighbours of neighbours that no cluster has shown to their target."""

from __future__ import annotations

import numpy as np

from helip.mining.stages.drops import Drops
from helip.mining.stages.job import StageJob, Workplace
from helip.mining.stages.merging import distinct, most_there, offer, without
from helip.mining.stages.range_pools import pools_of, write_pools
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import UnitFile, open_unit_file
from helip.pairs.blocks import Pools

_NEIGHBOURS = 32  # as in method partition
_BLOCK = 512  # targets that are looked at together


def refine(place: Workplace, step: Step, unit: int) -> None:
    """Writes the pools of a range of targets anew, with what their neighbours' pools add.

    Rows that share a cluster with the target have been compared with it there, but for two that a
    base already had. The others are scored in float64.
    """
    job = place.job
    assert step.pools is not None
    first, last = job.rows_of(unit)
    look = Lookup(place, step.pools, step.round)
    own = pools_of(job, step.pools, unit)
    changed = _changed(job, step, unit)
    refined = Pools.empty(last - first, job.kept, np.int32)
    drops = [Drops.of(own, first, last)]
    for begin in range(0, last - first, _BLOCK):
        block = slice(begin, min(begin + _BLOCK, last - first))
        pools = Pools(*(np.array(own[name][block]) for name in Pools._fields))
        some = np.flatnonzero(changed[block])
        if len(some):
            left = Pools(*(values[some] for values in pools))
            targets = some + first + begin
            candidates = look.candidates(targets, left.ids)
            drops.append(offer(place, targets, left, candidates))
            for values, better in zip(pools, left, strict=True):
                values[some] = better
        refined.put(begin, pools)
    write_pools(job, step, unit, refined, drops)


def _changed(job: StageJob, step: Step, unit: int) -> np.ndarray:
    """bool [rows of the range]: targets that are worth a look.

    After a further round of clusters those whose pool it, or the pass before this one, changed: the
    neighbours of others are as they were when they were looked at last.
    """
    first, last = job.rows_of(unit)
    before = None if step.pools is None else step.pools.pools
    if not step.round or step.pools is None or before is None:
        return np.ones(last - first, dtype=bool)
    now, then = (pools_of(job, each, unit)["ids"] for each in (step.pools, before))
    changed = np.zeros(last - first, dtype=bool)
    for begin in range(0, last - first, _BLOCK):
        block = slice(begin, begin + _BLOCK)
        changed[block] = (now[block] != then[block]).any(axis=1)
    return changed


class Lookup:
    """Pools and clusters of any row, over the maps of their files."""

    def __init__(self, place: Workplace, pools: Step, round: int) -> None:
        self._job, self._pools, self._changes = place.job, pools, place.changes
        self._rounds = [Step("route", each) for each in range(round + 1)]
        self._files: dict[tuple[str, int], UnitFile] = {}

    def candidates(self, targets: np.ndarray, pools: np.ndarray) -> np.ndarray:
        """int32 [b, c] different rows, -1 for none: in no cluster and no pool of their target."""
        near = self.neighbours(pools[:, :_NEIGHBOURS].reshape(-1)).reshape(len(targets), -1)
        near[near == targets[:, None]] = -1
        near = distinct(near)
        if not near.shape[1]:
            return near
        theirs = self.clusters(near.reshape(-1)).reshape(*near.shape, -1)
        ours = self.clusters(targets)
        shared = np.zeros(near.shape, dtype=bool)
        for i in range(ours.shape[1]):
            for j in range(theirs.shape[2]):
                shared |= theirs[:, :, j] == ours[:, i, None]
        if self._changes is not None:
            shared &= self._changes.fresh(targets)[:, None] | self._changes.fresh(near)
        near[shared] = -1
        near = without(most_there(near), pools.astype(np.int32))
        return most_there(near)

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
