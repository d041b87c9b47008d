"""Pools of ranges of targets, as one stage writes them and the next reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from helip.mining.stages.drops import Drops, joined_drops
from helip.mining.stages.job import StageJob, Workplace
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import UnitFile, new_unit_file, open_unit_file
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


class RangePools:
    """The pools of a range of targets that a unit finds.

    ``ids`` int32 [n, k + skip], -1 beyond ``counts`` int32 [n], and ``scores`` float32; and the
    pairs that rules kept out, as `Drops` has them, but of a table that is brought up to date.
    """

    def __init__(self, job: StageJob, unit: int) -> None:
        self._job, self._unit = job, unit
        self._first, last = job.rows_of(unit)
        self._pools = Pools.empty(last - self._first, job.kept, np.int32)

    def put(self, begin: int, pools: Pools) -> None:
        """The pools of a block of targets, from the range's ``begin``-th on."""
        for values, found in zip(self._pools, pools, strict=True):
            values[begin : begin + len(found)] = found

    def write(self, step: Step, drops: Sequence[Drops]) -> None:
        """Writes the file of the unit. ``drops``: what rules kept out, here and before."""
        dropped = Drops.none()
        if self._job.base is None:
            dropped = joined_drops(drops, self._first, self._pools)
        arrays = self._pools._asdict()
        shapes = {name: (values.dtype, values.shape) for name, values in arrays.items()}
        place, job = step.place(self._job, self._unit), self._job.digest
        with new_unit_file(place, {**shapes, **dropped.shapes()}, job=job) as out:
            for name, values in arrays.items():
                out.put(name, 0, values)
            dropped.put(out)
