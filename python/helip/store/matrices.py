"""Hands arrays to the C++ core without copying what lies on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.store.array_types import host_array

MatrixView = _core.MatrixView

_DTYPES = {"float64", "float32", "float16", "bfloat16", "int8", "int32", "int64"}


def matrix_of(array: Any, *, name: str, one_dimensional: bool = False) -> _core.MatrixView:
    """A view of a 2-D array [rows, cols] (1-D [rows] on request) that keeps its owner alive.

    Accepts what `host_array` does (NumPy arrays, also memory-mapped, torch tensors, Arrow, DLPack)
    of float64, float32, float16, bfloat16, int8, int32 or int64. Rows may be strided; the elements
    of a row must lie side by side, since gathering them would copy the whole matrix.

    Raises:
        InvalidArgumentError: another type, dtype, number of dimensions or layout.
    """
    if isinstance(array, _core.MatrixView):
        return array
    array = host_array(array, name)
    is_tensor = not isinstance(array, np.ndarray)
    dtype = str(array.dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise InvalidArgumentError(
            f"{name} has dtype {array.dtype}; use float64, float32, float16, int8 "
            "(bfloat16 as a torch tensor) in native byte order"
        )
    matrix = _as_numpy(array, dtype) if is_tensor else array
    if matrix.ndim != (1 if one_dimensional else 2):
        wanted = "1 dimension: [rows]" if one_dimensional else "2 dimensions: [rows, dim]"
        raise InvalidArgumentError(f"{name} has shape {matrix.shape}; it must have {wanted}")
    if one_dimensional:
        matrix = matrix[:, None]
    rows, cols = matrix.shape
    row_stride, stride = matrix.strides
    size = matrix.itemsize
    if cols > 1 and rows > 1 and stride == rows * size and row_stride == size:
        raise InvalidArgumentError(
            f"{name} has {rows:,} rows of {cols:,} numbers, and lies in memory as the transpose of "
            f"[{cols:,}, {rows:,}]; was it transposed? A row is one sample. If these are the rows, "
            "pass numpy.ascontiguousarray(...) or tensor.contiguous()"
        )
    if cols > 1 and rows > 0 and stride != size:
        raise InvalidArgumentError(
            f"the elements of a row of {name} lie {stride} bytes apart, not {size}; "
            "pass numpy.ascontiguousarray(...) or tensor.contiguous()"
        )
    if rows <= 1:
        row_stride = cols * size
    elif row_stride < cols * size:
        raise InvalidArgumentError(
            f"the rows of {name} overlap or run backwards (stride {row_stride} bytes); "
            "pass numpy.ascontiguousarray(...) or tensor.contiguous()"
        )
    address = matrix.__array_interface__["data"][0]
    return _core.MatrixView(address, rows, cols, dtype, row_stride, matrix)


def _as_numpy(tensor: Any, dtype: str) -> np.ndarray:
    """The tensor's own memory; bfloat16, which NumPy has not, as int16."""
    import torch

    return (tensor.view(torch.int16) if dtype == "bfloat16" else tensor).numpy()
