"""Arrow arrays of lists as matrices: a list is a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError


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
