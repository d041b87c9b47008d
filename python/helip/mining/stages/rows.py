"""Rows of a store as they lie in it, in the dtype of the store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from helip import _core
from helip.store.embedding_store import EmbeddingStore

if TYPE_CHECKING:
    import torch

Columns = Mapping[str, np.ndarray]  # "image", "text" [n, d] and "image_scale", "text_scale" [n]

BLOCK = 4096  # rows that are multiplied at a time


def columns_of(store: EmbeddingStore, modalities: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The columns of a store that count, over its map; bfloat16 as int16."""
    columns = {}
    for name in modalities:
        values = getattr(store._core, name)
        columns[name] = values.view(np.int16) if store.dtype == "bfloat16" else values
        if store.dtype == "int8":
            columns[f"{name}_scale"] = store._core.scale(name)
    return columns


def taken(columns: Columns, index: Any) -> dict[str, np.ndarray]:
    """Copies of the rows that ``index`` selects."""
    return {name: np.array(values[index]) for name, values in columns.items()}


def row_bytes(columns: Columns) -> int:
    """Bytes of a row over all columns."""
    return sum(values[:1].nbytes for values in columns.values())


def unit_vectors(columns: Columns, dtype: str) -> tuple[torch.Tensor, np.ndarray]:
    """float32 [n, d] of length 1, and bool [n], whether a row is zero in a modality.

    A row is (u, v) / √2 of the unit vectors of its modalities. By the inequality of arithmetic and
    geometric means the product of two cosines is at most the square of their mean, which is the
    inner product of two such rows: pairs of high scores lie close.
    """
    import torch

    from helip.common.unit_rows import unit_rows

    sides: list[torch.Tensor] = []
    zero = np.zeros(0, dtype=bool)
    for name in ("image", "text"):
        if name not in columns:
            continue
        values = torch.from_numpy(columns[name])
        values = (values.view(torch.bfloat16) if dtype == "bfloat16" else values).float()
        if dtype == "int8":
            values = values * torch.from_numpy(columns[f"{name}_scale"])[:, None]
        empty = (values == 0).all(dim=1).numpy()
        zero = zero | empty if len(sides) else empty
        sides.append(unit_rows(values))
    return torch.cat(sides, dim=1) / len(sides) ** 0.5, zero


def closest(rows: torch.Tensor, centres: torch.Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """int32 [n, count], the centres of largest inner product with each row, best first, and
    float32, these products.
    """
    products = (rows @ centres.T).numpy()
    found = np.empty((len(products), count), dtype=np.int32)
    best = np.empty(found.shape, dtype=np.float32)
    every = np.arange(len(products))
    for rank in range(count):
        found[:, rank] = products.argmax(axis=1)  # of equal ones the first
        best[:, rank] = products[every, found[:, rank]]
        products[every, found[:, rank]] = -np.inf
    return found, best


def views_of(columns: Columns, dtype: str) -> tuple[_core.MatrixView, _core.MatrixView]:
    """Image and text as the core takes them."""
    return _view(columns, "image", dtype), _view(columns, "text", dtype)


def _view(columns: Columns, name: str, dtype: str) -> _core.MatrixView:
    if name not in columns:
        return _core.MatrixView(0, 0, 0, "float32", 0, None)
    values = columns[name]
    rows, width = values.shape
    scale = columns.get(f"{name}_scale")
    return _core.MatrixView(
        values.ctypes.data, rows, width, dtype, values.strides[0], values,
        0 if scale is None else scale.ctypes.data, scale,
    )  # fmt: skip


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """The sums of a product may depend on the number of threads: one, and as before at the end."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
