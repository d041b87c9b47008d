"""Files of units: arrays as safetensors with checksums, there whole or not at all."""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import CorruptError, MismatchError, StorageError
from helip.common.files import publish_file, reading_file

_DTYPES = {
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
    "U64": np.uint64, "U8": np.uint8, "F64": np.float64, "F32": np.float32, "F16": np.float16,
}  # fmt: skip
_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
_MOST_HEADER = 1 << 20
# What a header that is none gives.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError)
_BLOCK_BYTES = 1 << 16  # that a checksum is of
_CHECKSUMS = "checksums"  # uint64: XXH3 of each block of the arrays, then of the header and these


def write_unit_file(
    path: Path, arrays: Mapping[str, np.ndarray], *, job: str, notes: dict[str, Any] | None = None
) -> None:
    """Writes a file that appears at ``path`` in one step.

    Args:
        job: digest of the job that the unit belongs to. notes: JSON-able facts.

    Raises StorageError where the disk refuses.
    """
    # Wide elements first, so that all of them are aligned.
    order = sorted(arrays.items(), key=lambda x: -x[1].itemsize)
    blocks = -(-sum(values.nbytes for _, values in order) // _BLOCK_BYTES)
    sums = np.zeros(blocks + 1, np.uint64)
    header: dict[str, Any] = {
        "__metadata__": {"job": job, "notes": json.dumps(notes or {}, sort_keys=True)}
    }
    end = 0
    for name, values in [(_CHECKSUMS, sums), *order]:
        header[name] = {
            "dtype": _NAMES[values.dtype],
            "shape": list(values.shape),
            "data_offsets": [end, end + values.nbytes],
        }
        end += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    # Two processes may run one unit at a time: both write the same bytes, and the last one stays.
    with publish_file(path, overwrite=True) as temporary, open(temporary, "r+b") as file:
        file.write(head)
        for _, values in [(_CHECKSUMS, sums), *order]:
            file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
        file.flush()
        begin = len(head) + sums.nbytes
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            sums[:-1] = _checksums(data, begin, len(head) + end)
        sums[-1] = _of_head(head, sums[:-1])
        file.seek(len(head))
        file.write(sums.tobytes())


def _checksums(data: mmap.mmap, begin: int, end: int) -> np.ndarray:
    """uint64: of the blocks from ``begin`` on, which is where one begins."""
    with memoryview(data) as view, view[begin:end] as part:
        return _core.block_checksums(part, _BLOCK_BYTES)


def _of_head(head: bytes, sums: np.ndarray) -> np.uint64:
    """Of the header and of the checksums of all blocks."""
    whole = head + sums.tobytes()
    return _core.block_checksums(whole, len(whole))[0]


class UnitFile:
    """The arrays of a unit, over a map of its file.

    A block of 64 KiB is compared with its checksum when it is first read, since a unit reads a
    slice of many files.
    """

    def __init__(self, path: Path, job: str) -> None:
        self.path = path
        with reading_file(path), path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < 16:
                raise _damaged(path, "it is cut short")
            self._data = data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(data[:8], "little")
        if length > min(_MOST_HEADER, size - 8):
            raise _damaged(path, "its header is cut short")
        try:
            header = json.loads(data[8 : 8 + length])
            facts = header.pop("__metadata__")
            arrays, end = {}, 8 + length
            for name, each in header.items():
                begin, last = (8 + length + offset for offset in each["data_offsets"])
                dtype, shape = _DTYPES[each["dtype"]], each["shape"]
                values = np.frombuffer(data, dtype, math.prod(shape), begin).reshape(shape)
                if begin + values.nbytes != last:
                    raise ValueError(f"{name} has another size than its shape")
                arrays[name] = UnitArray(self, values, begin)
                end = max(end, last)
            self.notes: dict[str, Any] = json.loads(facts["notes"])
            theirs = facts["job"]
            own = arrays.pop(_CHECKSUMS)
        except _UNREADABLE as error:
            raise _damaged(path, f"its header cannot be read ({error})") from error
        if end != size:
            raise _damaged(path, f"it has {size:,} bytes and not {end:,}")
        if theirs != job:
            raise MismatchError(
                f"{path} belongs to the job {theirs}, not to {job}; remove it, and run its unit "
                "again"
            )
        self._arrays = arrays
        self._sums, head = own.values[:-1], own.values[-1:]
        self._begin, self._end = own.begin + own.values.nbytes, size
        if head.tolist() != [_of_head(data[: 8 + length], self._sums)]:
            raise _damaged(path, "its header and its checksums do not fit together")
        self._unread = np.ones(len(self._sums), dtype=bool)

    def __getitem__(self, name: str) -> UnitArray:
        return self._arrays[name]

    def check(self, begins: np.ndarray, size: int) -> None:
        """Compares what holds the ``size`` bytes from each offset of the file on, if not yet."""
        if self._data.size() != self._end:  # within a page that is gone, zeros are read
            raise _damaged(
                self.path, f"it has {self._data.size():,} bytes now, and had {self._end:,}"
            )
        if not size or not len(begins):
            return
        first = (begins - self._begin) // _BLOCK_BYTES
        last = (begins + size - 1 - self._begin) // _BLOCK_BYTES
        most = int((last - first).max())
        blocks = np.unique(np.minimum(first[:, None] + np.arange(most + 1), last[:, None]))
        for block in blocks[self._unread[blocks]].tolist():
            begin = self._begin + block * _BLOCK_BYTES
            end = min(begin + _BLOCK_BYTES, self._end)
            if _checksums(self._data, begin, end)[0] != self._sums[block]:
                raise _damaged(self.path, f"bytes {begin:,} to {end:,} do not have their checksum")
            self._unread[block] = False


class UnitArray:
    """An array of a unit's file: what an index of its rows selects is checked, and given."""

    def __init__(self, file: UnitFile, values: np.ndarray, begin: int) -> None:
        self._file = file
        self.values, self.begin = values, begin  # as they are; offset in the file
        self.shape, self.dtype = values.shape, values.dtype

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = index[0] if isinstance(index, tuple) else index
        each = math.prod(self.shape[1:]) * self.dtype.itemsize
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            if step != 1:
                raise ValueError(f"the step is {step}, must be 1")
            begins, size = np.array([self.begin + first * each]), max(last - first, 0) * each
        else:
            begins, size = self.begin + np.asarray(rows).reshape(-1).astype(np.int64) * each, each
        values = self.values[index]
        self._file.check(begins, size)
        return values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self[:], dtype=dtype, copy=copy)


def open_unit_file(path: Path, *, job: str) -> UnitFile:
    """Maps the file of a unit.

    Raises StorageError where it is absent, CorruptError where it is damaged, which what is read of
    it may also do later, and MismatchError where it belongs to another job.
    """
    return UnitFile(path, job)


def _damaged(path: Path, why: str) -> CorruptError:
    return CorruptError(
        f"{path} is damaged: {why}; remove it, and the same call, or the stage "
        f"{path.parent.name}, makes it again"
    )


def full_disk(error: StorageError, words: str) -> StorageError:
    """``error`` with the unit that met it, and how to go on."""
    why = error.strerror or error
    return StorageError(
        error.errno,
        f"{words}: {why}; units that are done stay, and the same call goes on from there",
    )
