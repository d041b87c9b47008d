"""Pools of ranges of targets, as one stage writes them and the next reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helip.mining.stages.drops import Drops, joined_drops
from helip.mining.stages.job import StageJob, Workplace
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import UnitFile, open_unit_file, write_unit_file
from helip.pairs.blocks import Pools


class PoolsSoFar:
    """The pools that a step left, of any targets; without a step those of the base, if any."""

    def __init__(self, place: Workplace, step: Step | None) -> None:
        self._place, self._step = place, step
        self._files: dict[int, UnitFile] = {}

    def of(self, targets: np.ndarray) -> Pools:
        """Of targets [n], ascending: ``ids`` int64 [n, k + skip] and so on."""
        job, changes = self._place.job, self._place.changes
        if self._step is None and changes is not None:
            return changes.pools(targets)[0]
        pools = Pools.empty(len(targets), job.kept)
        if self._step is None:
            return pools
        units = targets // job.unit_rows
        for unit in np.unique(units).tolist():
            begin, end = np.searchsorted(units, (unit, unit + 1))
            if unit not in self._files:
                self._files[unit] = pools_of(job, self._step, unit)
            at = targets[begin:end] - unit * job.unit_rows
            for name, values in pools._asdict().items():
                values[begin:end] = self._files[unit][name][at]
        return pools


def pools_of(job: StageJob, step: Step, unit: int) -> UnitFile:
    """The pools of a range of targets, as merge or refine left them."""
    return open_unit_file(step.place(job, unit), job=job.digest)


def write_pools(job: StageJob, step: Step, unit: int, pools: Pools, drops: Sequence[Drops]) -> None:
    """Writes the pools of a range of targets that a unit found.

    ``ids`` int32 [n, k + skip], -1 beyond ``counts`` int32 [n], and ``scores`` float32; and of
    ``drops``, what rules kept out here and before, what counts still, but of a table that is
    brought up to date.
    """
    dropped = Drops.none()
    if job.base is None:
        dropped = joined_drops(drops, job.rows_of(unit)[0], pools)
    arrays = {**pools._asdict(), **dropped.arrays()}
    write_unit_file(step.place(job, unit), arrays, job=job.digest)
