"""Solving: the rows of one cluster are mined as a data set of their own."""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.files import scratch_directory, storage_errors
from helip.mining.stages.bases import is_in
from helip.mining.stages.drops import Drops
from helip.mining.stages.job import Workplace
from helip.mining.stages.range_pools import PoolsSoFar
from helip.mining.stages.rows import BLOCK, row_bytes, views_of
from helip.mining.stages.steps import JOINING, Step
from helip.mining.stages.unit_files import UnitFile, open_unit_file, write_unit_file
from helip.pairs.blocks import Pools

_NOTHING = tuple(Drops.none())  # listed by the core


def solve(place: Workplace, step: Step, unit: int) -> None:
    """Writes the pools of a cluster's rows among themselves, by the row numbers of the store.

    ``targets`` int64 [n] ascending, ``ids`` int32 [n, k + skip] (-1 beyond the count), ``scores``
    float32 and ``counts`` int32; and what rules kept out, as `Drops` has it. Where few rows join
    those of which pools are known, they alone are compared with all rows, and rows that gain
    nothing are no targets.
    """
    name = f"helip-{place.job.digest}-{step.name}-{unit}"
    with scratch_directory(Path(tempfile.gettempdir()) / name) as scratch:
        cluster = _Cluster.of(place, step, unit)
        if not cluster.joined.any():
            _write(place, step, unit, np.zeros(0, np.int64), None, cluster, Drops.none(), scratch)
        elif not cluster.known or JOINING * cluster.joined.sum() > len(cluster.ids):
            table, dropped = _mined(place, cluster, scratch)
            drops = Drops.of_rows(dropped, cluster.ids)
            _write(place, step, unit, np.arange(len(cluster.ids)), table, cluster, drops, scratch)
            del table  # before its files go
        else:
            cluster = cluster.behind_zeros(place.job.kept)
            before = _before(place, step, cluster, scratch)
            table, dropped = _added(place, cluster, before, scratch)
            drops = Drops.of_rows(dropped, cluster.ids)
            _write(place, step, unit, cluster.gained(table), table, cluster, drops, scratch)
            del before, table


@dataclass(frozen=True)
class _Cluster:
    """The rows of a cluster as a matrix has them."""

    slices: list[tuple[UnitFile, int, int]]  # of the files of route
    places: np.ndarray  # of the rows of all slices in the matrix
    ids: np.ndarray  # int64 [n] of the rows of the matrix; -1 for a row of zeros
    joined: np.ndarray  # bool [n]: a row joined those of which pools are known
    known: bool  # whether pools of others are known

    @classmethod
    def of(cls, place: Workplace, step: Step, unit: int) -> _Cluster:
        """All rows, ascending."""
        job, changes = place.job, place.changes
        slices: list[tuple[UnitFile, int, int]] = []
        last = [np.zeros(0, dtype=bool)]  # whether of the last round
        for round in range(step.round + 1):
            for each in range(job.ranges):
                file = open_unit_file(Step("route", round).place(job, each), job=job.digest)
                begin, end = file["offsets"][unit : unit + 2].tolist()
                slices.append((file, begin, end))
                last.append(np.full(end - begin, round == step.round))
        parts = [np.zeros(0, np.int64), *(file["ids"][a:b] for file, a, b in slices)]
        ids = np.concatenate(parts)
        joined = np.concatenate(last)
        if changes is not None and not step.round:
            joined = changes.fresh(ids)
        order = np.argsort(ids, kind="stable")  # slices of several rounds interleave
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        known = step.round > 0 or changes is not None
        return cls(slices, places, ids[order], joined[order], known)

    def behind_zeros(self, count: int) -> _Cluster:
        """The same behind so many rows of zeros, and those that joined last."""
        order = np.argsort(self.joined, kind="stable")
        moved = np.empty_like(order)
        moved[order] = np.arange(len(order)) + count
        return _Cluster(
            self.slices, moved[self.places],
            np.concatenate([np.full(count, -1, np.int64), self.ids[order]]),
            np.concatenate([np.zeros(count, bool), self.joined[order]]),
            self.known,
        )  # fmt: skip

    @property
    def first_joined(self) -> int:
        return len(self.ids) - int(self.joined.sum())

    def gained(self, table: _core.HardPairs) -> np.ndarray:
        """Rows of the matrix with a pair of a row that joined, by ascending ids."""
        some = self.joined.copy()
        for begin in range(0, len(some), BLOCK):
            block = slice(begin, begin + BLOCK)
            some[block] |= (table.ids[block] >= self.first_joined).any(axis=1)
        rows = np.flatnonzero(some)
        return rows[np.argsort(self.ids[rows])]


def _before(place: Workplace, step: Step, cluster: _Cluster, scratch: Path) -> _core.HardPairs:
    """What is known of the rows that were there, as a table whose ids are rows of the matrix.

    A row that is not among them has a row of zeros for its stand-in, so that a pool has all of its
    scores, and a pair that would not enter it is left at the threshold. A pair with a row that
    joins is found again: in place of it stands one that scores no more than the last.
    """
    kept, count = place.job.kept, cluster.first_joined
    path = "" if count * kept * 12 <= place.memory // 4 else str(scratch / "before")
    writer = _core.HardPairsWriter(path, count, kept)
    old, joined = cluster.ids[kept:count], np.sort(cluster.ids[count:])
    writer.write(0, *Pools.empty(kept, kept))
    so_far = PoolsSoFar(place, step.pools)
    for begin in range(0, len(old), BLOCK):
        pools = so_far.of(old[begin : begin + BLOCK])
        again = is_in(pools.ids, joined)
        full = pools.counts == kept
        left = pools.counts - np.where(full, 0, again.sum(axis=1))
        order = np.argsort(again | (pools.ids < 0), axis=1, kind="stable")
        again, ids, scores = (
            np.take_along_axis(each, order, axis=1) for each in (again, pools.ids, pools.scores)
        )
        scores = np.where(again, pools.scores[:, -1:], scores)
        place_of = np.minimum(np.searchsorted(old, ids), len(old) - 1)
        local = np.where((old[place_of] == ids) & ~again, kept + place_of, np.arange(kept))
        beyond = np.arange(kept) >= left[:, None]
        local, scores = np.where(beyond, -1, local), np.where(beyond, np.float32(0), scores)
        writer.write(kept + begin, local, scores, left.astype(np.int32))
    return writer.finish(fingerprint="", data_fingerprint="", options_json="{}", report_json="{}")


def _mined(place: Workplace, cluster: _Cluster, scratch: Path) -> tuple[_core.HardPairs, Any]:
    columns, used, out = _matrices(place, cluster, scratch)
    image, text = views_of(columns, place.dtype)
    options = place.core_options("partition", used=used)
    if place.job.base is not None:  # what a base has dropped is not known
        return _core.mine(image, text, options, None, out), _NOTHING
    found: Any = _core.mine_and_list_drops(image, text, options, out)
    return found


def _added(
    place: Workplace, cluster: _Cluster, before: _core.HardPairs, scratch: Path
) -> tuple[_core.HardPairs, Any]:
    columns, used, out = _matrices(place, cluster, scratch)
    image, text = views_of(columns, place.dtype)
    options = place.core_options("exact", used=used)
    found: Any = _core.add_rows(before, image, text, options, out)
    return found


def _matrices(
    place: Workplace, cluster: _Cluster, scratch: Path
) -> tuple[dict[str, np.ndarray], int, str]:
    """The rows as columns, bytes of memory that they and a table take, and where a table goes.

    What takes more than a quarter of the memory lies in files.
    """
    count = len(cluster.ids)
    each = row_bytes(place.columns)
    in_memory = count * each <= place.memory // 4
    columns = {
        name: _room(scratch / name, values.dtype, (count, *values.shape[1:]), in_memory)
        for name, values in place.columns.items()
    }
    begin = 0
    for file, a, b in cluster.slices:
        for at in range(a, b, BLOCK):
            end = min(at + BLOCK, b)
            rows = cluster.places[begin : begin + end - at]
            begin += end - at
            for name, matrix in columns.items():
                matrix[rows] = file[name][at:end]
    pools = count * place.job.kept * 12
    small = pools <= place.memory // 4
    used = (count * each if in_memory else 0) + (pools if small else 0)
    return columns, used, "" if small else str(scratch / "table")


def _room(path: Path, dtype: Any, shape: tuple[int, ...], in_memory: bool) -> np.ndarray:
    """A matrix of zeros in memory, or in a new file whose space is reserved: a map that meets a
    full disk is killed.
    """
    if in_memory:
        return np.zeros(shape, dtype)
    with storage_errors("write", path), path.open("w+b") as file:
        os.posix_fallocate(file.fileno(), 0, max(math.prod(shape) * np.dtype(dtype).itemsize, 1))
    return np.memmap(path, dtype, "r+", shape=shape)


def _write(
    place: Workplace,
    step: Step,
    unit: int,
    rows: np.ndarray,
    table: _core.HardPairs | None,
    cluster: _Cluster,
    drops: Drops,
    scratch: Path,
) -> None:
    """Writes the pools of some rows of the matrix; of one that was there what joined alone."""
    job, count = place.job, len(rows)
    small = count * job.kept * 8 <= place.memory // 4
    pools = Pools(
        _room(scratch / "ids", np.int32, (count, job.kept), small),
        _room(scratch / "scores", np.float32, (count, job.kept), small),
        np.zeros(count, np.int32),
    )
    whole = not (cluster.ids < 0).any()  # no stand-ins: all of it was mined
    for begin in range(0, count, BLOCK):
        assert table is not None  # without one there are no rows
        some = rows[begin : begin + BLOCK]
        local, scores, counts = (x[some] for x in (table.ids, table.scores, table.counts))
        if not whole:
            old = ~cluster.joined[some, None] & (local < cluster.first_joined)
            order = np.argsort(old | (local < 0), axis=1, kind="stable")
            old, local, scores = (
                np.take_along_axis(each, order, axis=1) for each in (old, local, scores)
            )
            local, scores = np.where(old, -1, local), np.where(old, np.float32(0), scores)
            counts = (local >= 0).sum(axis=1)
        pools.put(begin, Pools(np.where(local < 0, -1, cluster.ids[local]), scores, counts))
    notes = {
        "report": {} if table is None else json.loads(table.report_json),
        "rows": int((cluster.ids >= 0).sum()), "joined": int(cluster.joined.sum()),
    }  # fmt: skip
    arrays = {"targets": cluster.ids[rows], **pools._asdict(), **drops.arrays()}
    write_unit_file(step.place(job, unit), arrays, job=job.digest, notes=notes)
