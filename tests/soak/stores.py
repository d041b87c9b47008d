"""Stores of drawn rows: written, read back, and as the values that mining should see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import rows_of

import helip

Job = dict[str, Any]


def in_dtype(values: np.ndarray, dtype: str) -> Any:
    if dtype == "bfloat16":
        return torch.from_numpy(values).to(torch.bfloat16)
    return values.astype(dtype)


def as_float64(values: Any) -> np.ndarray:
    given = values.double().numpy() if isinstance(values, torch.Tensor) else values
    return np.asarray(given, np.float64)


def values_of(store: helip.EmbeddingStore) -> tuple[np.ndarray, np.ndarray]:
    """What a store holds, deleted rows as zeros; of int8 the codes, whose directions are its."""
    values = store.image_tensor.double().numpy().copy(), store.text_tensor.double().numpy().copy()
    for each in values:
        each[store.deleted] = 0
    return values


def append(job: Job, path: Path, first: int, count: int, seed: int) -> None:
    rows = rows_of(job, max(count, 2), seed)
    kept = {"image_dim": job["image_dim"], "text_dim": job["text_dim"], "dtype": job["dtype"]}
    with (
        helip.EmbeddingStore.append_to(path)
        if path.exists()
        else helip.EmbeddingStore.create(path, **kept, shard_rows=4096)
    ) as writer:
        writer.append([f"k{first + i}" for i in range(count)], *(each[:count] for each in rows))


def check_written(
    job: Job, store: helip.EmbeddingStore, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    for values, kept, scale in ((rows[0], store.image_tensor, store.image_scale),
                                (rows[1], store.text_tensor, store.text_scale)):  # fmt: skip
        if scale is None:
            np.testing.assert_array_equal(
                as_float64(kept), as_float64(in_dtype(values.astype(np.float32), job["dtype"]))
            )
        else:
            assert (scale >= 0).all()
            off = np.abs(as_float64(kept) * scale.astype(np.float64)[:, None] - values)
            assert (off <= 0.5001 * scale[:, None] + 1e-44).all(), (
                "int8 is off by more than half a step"
            )
