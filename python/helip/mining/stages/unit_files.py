"""Files of units: arrays as safetensors, written in pieces, there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import CorruptError, MismatchError, StorageError
from helip.common.files import publish_file, storage_errors

_DTYPES = {
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "F64": np.float64, "F32": np.float32, "F16": np.float16,
}  # fmt: skip
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_MOST_HEADER = 1 << 20

Shapes = Mapping[str, tuple[Any, tuple[int, ...]]]  # name -> dtype and shape


class UnitWriter:
    """The arrays of a file that is being written; rows may come in any order."""

    def __init__(self, descriptor: int, begins: dict[str, int], shapes: Shapes) -> None:
        self._descriptor = descriptor
        self._begins = begins
        self._shapes = shapes

    def put(self, name: str, first: int, rows: Any) -> None:
        """Writes ``rows`` [n, ...] of an array from its row ``first`` on."""
        dtype, shape = self._shapes[name]
        values = np.ascontiguousarray(rows, dtype=dtype)
        offset = self._begins[name] + first * math.prod(shape[1:]) * values.itemsize
        view = memoryview(values.reshape(-1).view(np.uint8))  # type: ignore[arg-type]
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            view, offset = view[written:], offset + written


@contextlib.contextmanager
def new_unit_file(
    path: Path, shapes: Shapes, *, job: str, notes: dict[str, Any] | None = None
) -> Iterator[UnitWriter]:
    """Yield a writer of a file that appears at ``path`` on a clean exit, in one step.

    Args:
        shapes: dtype and shape of each array; what is not written is 0.
        job: digest of the job that the unit belongs to. notes: JSON-able facts.

    Raises StorageError where the disk refuses.
    """
    header: dict[str, Any] = {
        "__metadata__": {"job": job, "notes": json.dumps(notes or {}, sort_keys=True)}
    }
    begins, end = {}, 0
    # Wide elements first, so that all of them are aligned.
    for name, (dtype, shape) in sorted(shapes.items(), key=lambda x: -np.dtype(x[1][0]).itemsize):
        size = math.prod(shape) * np.dtype(dtype).itemsize
        header[name] = {
            "dtype": _NAMES[np.dtype(dtype)],
            "shape": list(shape),
            "data_offsets": [end, end + size],
        }
        begins[name], end = end, end + size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    begin = 8 + len(text)
    # Two processes may run one unit at a time: both write the same bytes, and the last one stays.
    with publish_file(path, overwrite=True) as temporary, open(temporary, "r+b") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(begin + end)
        file.flush()
        begins = {name: begin + each for name, each in begins.items()}
        yield UnitWriter(file.fileno(), begins, shapes)


@dataclass(frozen=True)
class UnitFile:
    """The arrays of a unit, over a map of its file."""

    path: Path
    arrays: dict[str, np.ndarray]
    notes: dict[str, Any]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


def open_unit_file(path: Path, *, job: str) -> UnitFile:
    """Maps the file of a unit.

    Raises StorageError where it is absent, CorruptError where it is damaged, and MismatchError
    where it belongs to another job.
    """
    with storage_errors("read", path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < 16:
            raise _damaged(path, "it is cut short")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(data[:8], "little")
    if length > min(_MOST_HEADER, size - 8):
        raise _damaged(path, "its header is cut short")
    try:
        header = json.loads(data[8 : 8 + length])
        facts = header.pop("__metadata__")
        arrays, end = {}, 8 + length
        for name, each in header.items():
            begin, last = (8 + length + offset for offset in each["data_offsets"])
            values = np.frombuffer(data, _DTYPES[each["dtype"]], math.prod(each["shape"]), begin)
            arrays[name] = values.reshape(each["shape"])
            if begin + values.nbytes != last:
                raise ValueError(f"{name} has another size than its shape")
            end = max(end, last)
        notes, theirs = json.loads(facts["notes"]), facts["job"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, str(error)) from error
    if end != size:
        raise _damaged(path, f"it has {size:,} bytes and not {end:,}")
    if theirs != job:
        raise MismatchError(
            f"{path} belongs to the job {theirs}, not to {job}; remove it, and run its unit again"
        )
    return UnitFile(path, arrays, notes)


def _damaged(path: Path, why: str) -> CorruptError:
    return CorruptError(f"{path} is damaged: {why}; remove it, and run its unit again")


def full_disk(error: StorageError, words: str) -> StorageError:
    """``error`` with the unit that met it, and how to go on."""
    why = error.strerror or error
    return StorageError(
        error.errno,
        f"{words}: {why}; units that are done stay, and the same call goes on from there",
    )
