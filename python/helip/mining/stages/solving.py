"""Solving: the rows of one cluster are mined as a data set of their own."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np

from helip import _core
from helip.common.files import scratch_directory, storage_errors
from helip.mining.stages.job import Workplace
from helip.mining.stages.rows import BLOCK, row_bytes, views_of
from helip.mining.stages.steps import Step
from helip.mining.stages.unit_files import UnitFile, new_unit_file, open_unit_file


def solve(place: Workplace, step: Step, unit: int) -> None:
    """Writes the pools of a cluster's rows among themselves, by the row numbers of the store.

    ``targets`` int64 [n] ascending, ``ids`` int32 [n, k + skip] (-1 beyond the count), ``scores``
    float32 and ``counts`` int32. In later rounds clusters without a new row have no targets: their
    pools are known.
    """
    job = place.job
    slices: list[tuple[UnitFile, int, int]] = []
    for round in range(step.round + 1):
        new = 0  # rows of the last round
        for each in range(job.ranges):
            file = open_unit_file(Step("route", round).place(job, each), job=job.digest)
            begin, end = file["offsets"][unit : unit + 2].tolist()
            slices.append((file, begin, end))
            new += end - begin
    ids = np.concatenate([file["ids"][a:b] for file, a, b in slices]) if new else np.zeros(0, int)
    order = np.argsort(ids, kind="stable")  # slices of several rounds interleave
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    ids = ids[order]
    name = f"helip-{job.digest}-{step.name}-{unit}"
    with scratch_directory(Path(tempfile.gettempdir()) / name) as scratch:
        table = _mined(place, slices, places, scratch)
        _write(place, step, unit, ids, table)
        del table  # before its files go


def _mined(
    place: Workplace, slices: list[tuple[UnitFile, int, int]], places: np.ndarray, scratch: Path
) -> _core.HardPairs | None:
    if not len(places):
        return None
    each = row_bytes(place.columns)
    in_memory = len(places) * each <= place.memory // 4
    columns = {}
    with storage_errors("write", scratch):
        for name, values in place.columns.items():
            shape = (len(places), *values.shape[1:])
            columns[name] = (
                np.empty(shape, values.dtype)
                if in_memory
                else _mapped(scratch / name, values.dtype, shape)
            )
        begin = 0
        for file, a, b in slices:
            for at in range(a, b, BLOCK):
                end = min(at + BLOCK, b)
                rows = places[begin : begin + end - at]
                begin += end - at
                for name, matrix in columns.items():
                    matrix[rows] = file[name][at:end]
    image, text = views_of(columns, place.dtype)
    pools = len(places) * place.job.kept * 12
    small = pools <= place.memory // 4
    used = (len(places) * each if in_memory else 0) + (pools if small else 0)
    out = "" if small else str(scratch / "table")
    return _core.mine(image, text, place.core_options("partition", used=used), None, out)


def _mapped(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """A matrix in a new file, whose space is reserved: a map that meets a full disk is killed."""
    with path.open("w+b") as file:
        os.posix_fallocate(file.fileno(), 0, max(int(np.prod(shape)) * dtype.itemsize, 1))
    return np.memmap(path, dtype, "r+", shape=shape)


def _write(
    place: Workplace, step: Step, unit: int, ids: np.ndarray, table: _core.HardPairs | None
) -> None:
    job, count = place.job, len(ids)
    shapes = {
        "targets": (np.int64, (count,)), "ids": (np.int32, (count, job.kept)),
        "scores": (np.float32, (count, job.kept)), "counts": (np.int32, (count,)),
    }  # fmt: skip
    notes = {"report": {} if table is None else json.loads(table.report_json)}
    with new_unit_file(step.place(job, unit), shapes, job=job.digest, notes=notes) as file:
        if table is None:
            return
        file.put("targets", 0, ids)
        file.put("counts", 0, table.counts)
        for begin in range(0, count, BLOCK):
            block = slice(begin, begin + BLOCK)
            local = table.ids[block]
            file.put("ids", begin, np.where(local < 0, -1, ids[local]))
            file.put("scores", begin, table.scores[block])
