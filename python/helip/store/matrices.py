"""Arrays of other libraries as matrices: in the memory of the host, and as views for the C++ core.

What lies on the host already is read where it is. No library is imported before there is an
array of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError

# Devices of DLPack whose memory the host reads: kDLCPU, kDLCUDAHost, kDLROCMHost, kDLCUDAManaged.
_HOST = (1, 3, 11, 13)
MatrixView = _core.MatrixView
_DTYPES = {"float64", "float32", "float16", "bfloat16", "int8", "int32", "int64"}


def rows_of_arrow(array: Any, name: str, first: int = 0) -> np.ndarray:
    """[rows, dim] of an Arrow array of lists of one length; read-only, and no copy of one chunk.

    ``first`` is the number that messages give to its first row.

    Raises:
        InvalidArgumentError: another type of Arrow, nulls, or lists of unlike lengths (with the
            row).
    """
    import pyarrow

    chunks = array.chunks if isinstance(array, pyarrow.ChunkedArray) else [array]
    if not isinstance(array, (pyarrow.Array, pyarrow.ChunkedArray)):
        raise InvalidArgumentError(
            f"{name} is a pyarrow {type(array).__name__}; pass one column of lists, such as "
            'table["embedding"]'
        )
    matrices: list[np.ndarray] = []
    for chunk in chunks:
        matrix = _matrix_of_chunk(chunk, first, name)
        if len(matrix) == 0:
            continue
        if matrices and matrix.shape[1] != matrices[0].shape[1]:
            raise _unlike(name, first, matrix.shape[1], matrices[0].shape[1])
        matrices.append(matrix)
        first += len(matrix)
    if not matrices:
        empty = array.combine_chunks() if isinstance(array, pyarrow.ChunkedArray) else array
        return _matrix_of_chunk(empty, first, name)
    return matrices[0] if len(matrices) == 1 else np.concatenate(matrices)


def _matrix_of_chunk(chunk: Any, first: int, name: str) -> np.ndarray:
    """``first`` is the row of the whole that the chunk begins with."""
    from pyarrow import types

    if is_tensor(chunk.type):
        if len(chunk.type.shape) != 1:
            raise InvalidArgumentError(
                f"{name} holds tensors of shape {tuple(chunk.type.shape)}; a row must have 1 "
                "dimension"
            )
        chunk = chunk.storage
    kind = chunk.type
    fixed = types.is_fixed_size_list(kind)
    if not (fixed or types.is_list(kind) or types.is_large_list(kind)):
        raise InvalidArgumentError(
            f"{name} is an Arrow array of {kind}; it must be one of lists of numbers, one a row"
        )
    if not (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)):
        raise InvalidArgumentError(f"{name} has lists of {kind.value_type}; use float32 or float16")
    if chunk.null_count:
        row = int(chunk.is_null().to_numpy(zero_copy_only=False).argmax())
        raise InvalidArgumentError(
            f"{name} is null in row {first + row} ({chunk.null_count:,} nulls); leave such rows out"
        )
    if fixed:
        dim, begin = kind.list_size, chunk.offset * kind.list_size
    else:
        dim, begin = _length_of_lists(chunk, first, name)
    values = chunk.values.slice(begin, len(chunk) * dim)
    if values.null_count:
        place = int(values.is_null().to_numpy(zero_copy_only=False).argmax())
        raise InvalidArgumentError(
            f"{name} has a null in row {first + place // dim}; leave such rows out"
        )
    return values.to_numpy(zero_copy_only=True).reshape(len(chunk), dim)


def _length_of_lists(chunk: Any, first: int, name: str) -> tuple[int, int]:
    """The length that all lists have, and where the first begins."""
    offsets = chunk.offsets.to_numpy()
    lengths = np.diff(offsets)
    if len(lengths) == 0:
        return 0, 0
    other = lengths != lengths[0]
    if other.any():
        row = int(other.argmax())
        raise _unlike(name, first + row, int(lengths[row]), int(lengths[0]))
    return int(lengths[0]), int(offsets[0])


def _unlike(name: str, row: int, length: int, before: int) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"row {row} of {name} has {length} numbers and the rows before it {before}; all rows must "
        "be of one length"
    )


def is_tensor(kind: Any) -> bool:
    """Whether cells of this type of Arrow are tensors of one shape."""
    import pyarrow

    return isinstance(kind, getattr(pyarrow, "FixedShapeTensorType", ()))


def host_array(array: Any, name: str) -> Any:
    """``array`` as a NumPy array, or as a torch tensor on the CPU without its gradient.

    Takes NumPy arrays, torch tensors on any device, Arrow arrays of lists of one length
    (FixedSizeListArray, ListArray, ChunkedArray, FixedShapeTensorArray), and objects with
    ``__dlpack__``, ``__array_interface__`` or ``__array__``. Copied are only what lies on a device,
    Arrow arrays of several chunks, and what ``__array__`` makes. The result may be read-only.

    Raises:
        InvalidArgumentError: another type such as a list, masked values or nulls (with the row),
            lists of unlike lengths (with the row).
    """
    # Whoever has a masked array has imported its module, which NumPy loads when it is asked for.
    masked = sys.modules.get("numpy.ma")
    if masked is not None and isinstance(array, masked.MaskedArray):
        return _unmasked(array, name)
    if isinstance(array, np.ndarray):
        return array
    if hasattr(array, "detach"):
        return _of_tensor(array, name)
    if type(array).__module__.partition(".")[0] == "pyarrow":
        return rows_of_arrow(array, name)
    return _of_protocol(array, name)


def _unmasked(array: Any, name: str) -> np.ndarray:
    mask = np.ma.getmaskarray(array)
    if mask.any():
        raise InvalidArgumentError(
            f"{name} has masked values, the first in row {int(np.argwhere(mask)[0][0])}; fill "
            "them, or leave such rows out"
        )
    return np.asarray(array.data)


def _of_tensor(tensor: Any, name: str) -> Any:
    tensor = tensor.detach()
    if (layout := str(tensor.layout)) != "torch.strided":
        raise InvalidArgumentError(f"{name} has the layout {layout}; pass tensor.to_dense()")
    if tensor.device.type == "meta":
        raise InvalidArgumentError(f"{name} lies on the device meta, which holds no values")
    return tensor if tensor.device.type == "cpu" else tensor.cpu().contiguous()


def _of_protocol(array: Any, name: str) -> Any:
    """By DLPack NumPy reads it, else torch, which knows bfloat16 and the memory of its own devices;
    else by ``__array__``."""
    reads: list[Callable[[Any], Any]] = []
    if hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        on_host = int(array.__dlpack_device__()[0]) in _HOST
        reads = [np.from_dlpack if on_host else partial(np.from_dlpack, device="cpu"), _by_torch]
    if hasattr(array, "__array_interface__") or hasattr(array, "__array__"):
        reads.append(np.asarray)
    problem: Exception | None = None
    for read in reads:
        try:
            return read(array)
        except Exception as error:  # whatever the other library raises
            problem = error
    if not reads:
        raise InvalidArgumentError(
            f"{name} is a {type(array).__name__}; pass a NumPy array or a torch tensor of shape "
            "[rows, dim], an Arrow array of lists, or an object with __dlpack__ or __array__"
        )
    raise InvalidArgumentError(
        f"{name} is a {type(array).__name__} that neither NumPy nor torch can read ({problem}); "
        "copy it to the host first, as cupy.asnumpy and jax.device_get do"
    ) from problem


def _by_torch(array: Any) -> Any:
    import torch

    return _of_tensor(torch.from_dlpack(array), "the array")


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
