"""Matrices in .npy files."""

from __future__ import annotations

import os

import numpy as np

from helip.common.errors import InvalidArgumentError, errors_of_paths

_MAGIC = b"\x93NUMPY"


def map_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The matrix [rows, dim] of a file that ``numpy.save`` wrote, read-only and not read at once.

    Raises:
        InvalidArgumentError: another format, pickled objects, other than two dimensions, or columns
            in place of rows.
        StorageError: it cannot be read.
    """
    path = os.fspath(path)
    with errors_of_paths():
        with open(path, "rb") as file:
            start = file.read(len(_MAGIC))
        if start != _MAGIC:
            raise InvalidArgumentError(
                f"{path} is no .npy file; write one with numpy.save(path, matrix)"
            )
        try:
            matrix = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            if "object" in str(error):
                raise InvalidArgumentError(
                    f"{path} holds pickled Python objects, which are not loaded; save a matrix of "
                    "numbers, such as numpy.save(path, numpy.stack(rows))"
                ) from error
            raise InvalidArgumentError(f"{path} cannot be mapped: {error}") from error
    if matrix.ndim != 2:
        raise InvalidArgumentError(
            f"{path} has the shape {matrix.shape}; it must be a matrix [rows, dim]"
        )
    if matrix.flags.f_contiguous and not matrix.flags.c_contiguous:
        raise InvalidArgumentError(
            f"{path} holds the columns one after another; save numpy.ascontiguousarray(matrix)"
        )
    return matrix
