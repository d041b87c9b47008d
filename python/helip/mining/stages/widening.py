"""Widening: which rows go to one cluster more, where the recall falls short.

A pair is missed where no cluster holds both of its rows, so mostly of rows near the border of a
cluster. How near is near depends on how far the pairs of a pool lie: of a score s, the product of
two cosines, the rows (u, v) / √2 have an inner product of √s at least, and so a distance of at most
√(2 - 2 √s). The *margin* of a row is its distance from the border to the next closest cluster, over
that of the last pair of its pool. Rows of small margins are those that the sample's missed pairs
are of; up to which margin, the sample says.
"""

from __future__ import annotations

import numpy as np

from helip.mining.recall import mean_needed
from helip.mining.stages.job import Workplace
from helip.mining.stages.range_pools import PoolsSoFar
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import open_unit_file

#: Of what may be missed at most, the share that rows which stay as they are may miss.
_LEFT = 0.5


def margins(
    place: Workplace, pools: Step | None, round: int, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n] margins of ascending rows, infinite where there is no further cluster, and int32
    [n], that cluster, -1 for none. ``round`` is the last one.
    """
    job = place.job
    later, gaps = np.full(len(rows), -1, np.int32), np.full(len(rows), np.inf, np.float32)
    units = rows // job.unit_rows
    for unit in np.unique(units).tolist():
        begin, end = np.searchsorted(units, (unit, unit + 1))
        at = rows[begin:end] - unit * job.unit_rows
        widened = np.zeros(len(at), dtype=np.int64)
        for each in range(1, round + 1):
            file = open_unit_file(Step("route", each).place(job, unit), job=job.digest)
            widened += file["assigned"][at, 0] >= 0
        file = open_unit_file(Step("route").place(job, unit), job=job.digest)
        rank = np.minimum(widened, file["later"].shape[1] - 1)[:, None]
        left = widened < file["later"].shape[1]
        for name, values in (("later", later), ("gaps", gaps)):
            found = np.take_along_axis(file[name][at], rank, axis=1)[:, 0]
            values[begin:end] = np.where(left, found, values[begin:end])
    return gaps / _radii(place, PoolsSoFar(place, pools).of(rows).scores[:, -1]), later


def _radii(place: Workplace, last: np.ndarray) -> np.ndarray:
    """float32 [n]: the greatest distance of a row whose pair scores above ``last``."""
    rules = place.job.options
    floor = np.clip(np.maximum(last, rules.min_score), 0, 1)  # a pool that is short has 0 there
    product = floor if len(rules.modalities) == 1 else np.sqrt(floor)
    return np.sqrt(np.maximum(2 - 2 * product, 1e-6)).astype(np.float32)


def widest_margin(
    margin: np.ndarray, hits: np.ndarray, wanted: np.ndarray, recall: float
) -> float | None:
    """The margin up to which rows are to be widened, from [n] of the sample's targets.

    The least one such that targets above it miss at most half of what may be missed where
    ``recall`` is shown; None where no target that could be widened misses a pair.
    """
    counted = wanted > 0
    missed = 1 - hits[counted] / wanted[counted]
    margin = margin[counted]
    order = np.argsort(margin, kind="stable")
    margin, missed = margin[order], missed[order]
    allowed = _LEFT * (1 - mean_needed(len(missed), recall)) * len(missed)
    above = missed.sum() - np.cumsum(missed)  # by those behind each
    can = np.flatnonzero(np.isfinite(margin) & (missed > 0))
    if not len(can):
        return None
    place = min(int(np.argmax(above <= allowed + 1e-9)), int(can[-1]))
    place = max(place, int(can[0]))
    return float(margin[place])


def chosen(place: Workplace, step: Step, unit: int) -> np.ndarray:
    """int32 [rows of the range]: the cluster that a row goes to in this round, -1 for none."""
    assert step.margin is not None
    rows = np.arange(*place.job.rows_of(unit))
    margin, later = margins(place, step.pools, step.round - 1, rows)
    return np.where(margin <= np.float32(step.margin), later, -1)
