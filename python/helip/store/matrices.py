"""Hands NumPy arrays and torch tensors to the C++ core without copying them."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError

MatrixView = _core.MatrixView

_NUMPY_DTYPES = {"float64", "float32", "float16", "int8", "int32", "int64"}


def on_host(array: Any) -> Any:
    """``array``, copied to the CPU where it is a tensor on a device."""
    return array.cpu() if getattr(array, "is_cuda", False) else array


def view_of(array: Any, *, name: str, one_dimensional: bool = False) -> _core.MatrixView:
    """A view of a 2-D array [rows, cols] (1-D [rows] on request) that keeps its owner alive.

    Accepts NumPy arrays (also memory-mapped) of float64, float32, float16, int8, int32 or int64,
    and CPU torch tensors of these dtypes or bfloat16. Rows may be strided; the elements of a row
    must lie side by side, since gathering them would copy the whole matrix.

    Raises:
        InvalidArgumentError: another type, dtype, number of dimensions or layout.
    """
    if isinstance(array, _core.MatrixView):
        return array
    if hasattr(array, "detach"):
        return _view_of_tensor(array.detach(), name, one_dimensional)
    if not isinstance(array, np.ndarray):
        raise InvalidArgumentError(
            f"{name} is a {type(array).__name__}; pass a NumPy array or a torch tensor of shape "
            "[rows, dim]"
        )
    dtype = array.dtype.name
    if dtype not in _NUMPY_DTYPES or not array.dtype.isnative:
        raise InvalidArgumentError(
            f"{name} has dtype {array.dtype}; use float64, float32, float16, int8 "
            "(bfloat16 as a torch tensor) in native byte order"
        )
    address = array.__array_interface__["data"][0]
    return _make(
        array, name, address, array.shape, array.strides, array.itemsize, dtype, one_dimensional
    )


def _view_of_tensor(tensor: Any, name: str, one_dimensional: bool) -> _core.MatrixView:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.device.type != "cpu":
        raise InvalidArgumentError(
            f"{name} lies on {tensor.device}; the CPU core needs it on the CPU: call .cpu()"
        )
    if dtype not in _NUMPY_DTYPES | {"bfloat16"}:
        raise InvalidArgumentError(
            f"{name} has dtype {tensor.dtype}; use float64, float32, float16, bfloat16 or int8"
        )
    size = tensor.element_size()
    strides = tuple(stride * size for stride in tensor.stride())
    return _make(
        tensor, name, tensor.data_ptr(), tuple(tensor.shape), strides, size, dtype, one_dimensional
    )


def _make(
    owner: Any,
    name: str,
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    itemsize: int,
    dtype: str,
    one_dimensional: bool,
) -> _core.MatrixView:
    dimensions = 1 if one_dimensional else 2
    if len(shape) != dimensions:
        raise InvalidArgumentError(
            f"{name} has shape {tuple(shape)}; it must have {dimensions} dimension"
            f"{'s: [rows, dim]' if dimensions == 2 else ': [rows]'}"
        )
    rows = shape[0]
    cols = 1 if one_dimensional else shape[1]
    row_stride = strides[0]
    if dimensions == 2 and cols > 1 and rows > 0 and strides[1] != itemsize:
        raise InvalidArgumentError(
            f"the elements of a row of {name} lie {strides[1]} bytes apart, not {itemsize}; "
            "pass numpy.ascontiguousarray(...) or tensor.contiguous()"
        )
    if rows <= 1:
        row_stride = cols * itemsize
    elif row_stride < cols * itemsize:
        raise InvalidArgumentError(
            f"the rows of {name} overlap or run backwards (stride {row_stride} bytes); "
            "pass numpy.ascontiguousarray(...) or tensor.contiguous()"
        )
    return _core.MatrixView(address, rows, cols, dtype, row_stride, owner)
