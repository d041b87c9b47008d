"""Matrices in ``.npy`` files, and in members of ``.npz`` files."""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

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
            shape, columns_first, dtype = _header(file, what)
            begin = file.tell()
        if dtype.hasobject:
            raise InvalidArgumentError(
                f"{what} holds pickled Python objects, which are not loaded; save a matrix of "
                "floats"
            )
        if not all(type(size) is int and size >= 0 for size in shape):
            raise CorruptError(f"{what} has a header with the shape {shape!s:.100}")
        if len(shape) != 2:
            raise InvalidArgumentError(f"{what} has shape {shape}; it must have 2: [rows, dim]")
        if columns_first and min(shape) > 1:
            raise InvalidArgumentError(
                f"{what} lies in memory by columns (Fortran order), so that no row can be read; "
                "save numpy.ascontiguousarray(array)"
            )
        if not dtype.isnative:
            raise InvalidArgumentError(
                f"{what} is of {dtype.str}, of another byte order than this machine; save it with "
                f"array.astype('{dtype.name}')"
            )
        wanted = begin + shape[0] * shape[1] * dtype.itemsize
        if size < wanted:
            raise CorruptError(f"{what} has {size:,} bytes, and its header tells of {wanted:,}")
        return cls(path, member, shape[0], shape[1], dtype.name)

    def blocks(self, first: int, step: int) -> Generator[np.ndarray, None, None]:
        """The rows from ``first`` on, [at most step, dim]."""
        row = self.dim * np.dtype(self.dtype).itemsize
        with _array_bytes(self.path, self.member) as (file, _):
            _header(file, self.name)
            # Of a member that is compressed, what lies before is read, and dropped.
            file.seek(first * row, 1)
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
        try:
            with zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as inside:
                said = archive.getinfo(f"{member}.npy").file_size
                if said > _MOST_INFLATED * path.stat().st_size:
                    raise CorruptError(
                        f"{path} is damaged: {member}.npy is said to have {said:,} bytes, more "
                        "than a file of its size can hold"
                    )
                yield inside, said
        except (zipfile.BadZipFile, zlib.error) as error:
            raise CorruptError(f"{path} is damaged: {error}") from error
        except (RuntimeError, NotImplementedError) as error:  # encrypted, compressed otherwise
            raise InvalidArgumentError(f"{path} cannot be read: {error}; write it anew") from error


def _header(file: IO[bytes], what: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # whatever Python's parser says of a header
        raise InvalidArgumentError(
            f"{what} is no .npy file ({error!s:.100}); write one with numpy.save(path, matrix)"
        ) from error
    raise InvalidArgumentError(f"{what} is a .npy file of version {version}; 1.0 and 2.0 are read")


def map_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The matrix [rows, dim] of a ``.npy`` file, read-only and not read at once.

    Raises:
        As `NpyMatrix.open`.
    """
    matrix = NpyMatrix.open(Path(path))
    with storage_errors("read", path):
        with open(path, "rb") as file:
            _header(file, matrix.name)
            begin = file.tell()
        shape = (matrix.rows, matrix.dim)
        if 0 in shape:  # which no map can be of
            return np.empty(shape, matrix.dtype)
        return np.memmap(path, matrix.dtype, "r", begin, shape)


def members_of(path: Path) -> list[str]:
    """Names of the arrays in an ``.npz``."""
    with reading_file(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except zipfile.BadZipFile as error:
            raise CorruptError(f"{path} is no .npz file: {error}") from error
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
