"""Matrices in ``.npy`` files, and in members of ``.npz`` files."""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.common.files import reading_file, storage_errors

_MOST_INFLATED = 1032  # times its own size, of what deflate packs


@dataclass(frozen=True)
class NpyMatrix:
    """A matrix in a ``.npy`` file, or in a member of an ``.npz``; nothing of it is in memory."""

    path: Path
    member: str | None
    """Its name in an ``.npz``, without ``.npy``."""
    rows: int
    dim: int
    dtype: str
    begin: int
    """Where its first row lies, in bytes."""

    @property
    def name(self) -> str:
        return f"{self.path}" if self.member is None else f"{self.path}: {self.member}"

    @classmethod
    def open(cls, path: Path, member: str | None = None) -> NpyMatrix:
        """Read its header.

        Raises:
            InvalidArgumentError: another format, not two dimensions, Python objects, columns first.
            StorageError: it cannot be read. CorruptError: shorter than its header says.
        """
        what = f"{path}" if member is None else f"{path}: {member}"
        with _array_bytes(path, member) as (file, size):
            try:
                if np.lib.format.read_magic(file) == (1, 0):
                    shape, columns_first, dtype = np.lib.format.read_array_header_1_0(file)
                else:
                    shape, columns_first, dtype = np.lib.format.read_array_header_2_0(file)
            except Exception as error:  # whatever Python's parser says of a header
                raise InvalidArgumentError(
                    f"{what} is no .npy file ({error!s:.100}); write one with numpy.save(path, "
                    "matrix)"
                ) from error
            begin = file.tell()
        for is_so, fault in (
            (dtype.hasobject, "holds pickled Python objects; save a matrix of floats"),
            (
                len(shape) != 2 or min(shape) < 0,
                f"has shape {shape!s:.100}; it must have 2 dimensions: [rows, dim]",
            ),
            (
                columns_first and min(shape, default=0) > 1,
                "lies in memory by columns (Fortran order), so that no row can be read; save "
                "numpy.ascontiguousarray(array)",
            ),
            (
                not dtype.isnative,
                f"is of {dtype.str}, of another byte order than this machine; save it with "
                f"array.astype('{dtype.name}')",
            ),
        ):
            if is_so:
                raise InvalidArgumentError(f"{what} {fault}")
        wanted = begin + shape[0] * shape[1] * dtype.itemsize
        if size < wanted:
            raise CorruptError(f"{what} has {size:,} bytes, and its header tells of {wanted:,}")
        return cls(path, member, shape[0], shape[1], dtype.name, begin)

    def blocks(self, first: int, step: int) -> Generator[np.ndarray, None, None]:
        """The rows from ``first`` on, [at most step, dim]."""
        row = self.dim * np.dtype(self.dtype).itemsize
        with _array_bytes(self.path, self.member) as (file, _):
            # Of a member that is compressed, what lies before is read, and dropped.
            file.seek(self.begin + first * row)
            for at in range(first, self.rows, step):
                count = min(step, self.rows - at)
                values = np.empty((count, self.dim), self.dtype)
                view = values.reshape(-1).view(np.uint8).data
                while view:
                    read = file.readinto(view)  # type: ignore[attr-defined]
                    if not read:
                        raise CorruptError(
                            f"{self.name} ends before row {at + count:,} of {self.rows:,}"
                        )
                    view = view[read:]
                yield values


@contextlib.contextmanager
def _array_bytes(path: Path, member: str | None) -> Iterator[tuple[IO[bytes], int]]:
    """The bytes of an array with its header, and how many there are."""
    with reading_file(path):
        if member is None:
            with open(path, "rb", buffering=0) as file:
                yield file, path.stat().st_size
            return
        with _archive(path) as archive, archive.open(f"{member}.npy") as inside:
            said = archive.getinfo(f"{member}.npy").file_size
            if said > _MOST_INFLATED * path.stat().st_size:
                raise CorruptError(
                    f"{path} is damaged: {member}.npy is said to have {said:,} bytes, more than a "
                    "file of its size can hold"
                )
            yield inside, said


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error) as error:
        raise CorruptError(f"{path} is no whole .npz file: {error}") from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, compressed otherwise
        raise InvalidArgumentError(f"{path} cannot be read: {error}; write it anew") from error


def map_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The matrix [rows, dim] of a ``.npy`` file, read-only and not read at once.

    Raises:
        As `NpyMatrix.open`.
    """
    matrix = NpyMatrix.open(Path(path))
    shape = (matrix.rows, matrix.dim)
    if 0 in shape:  # which no map can be of
        return np.empty(shape, matrix.dtype)
    with storage_errors("read", path):
        return np.memmap(path, matrix.dtype, "r", matrix.begin, shape)


def members_of(path: Path) -> list[str]:
    """Names of the arrays in an ``.npz``."""
    with reading_file(path), _archive(path) as archive:
        names = archive.namelist()
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
