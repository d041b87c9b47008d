"""Small containers, and comparisons of directories, for tests of object storage."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import helip

ROWS = 8000


def write_store(
    path: Path,
    *,
    dims: tuple[int, int] = (8, 6),
    dtype: str = "float32",
    rows: int = ROWS,
    seed: int = 0,
    digests: bool = False,
) -> Path:
    """A store of shards of 4096 rows."""
    numbers = np.random.default_rng(seed)
    image, text = (numbers.standard_normal((rows, dim), np.float32) for dim in dims)
    with helip.EmbeddingStore.create(
        path, image_dim=dims[0], text_dim=dims[1], dtype=dtype, shard_rows=4096, digests=digests
    ) as writer:
        both = numbers.integers(1, 2**63, (2, rows)).astype(np.uint64)
        keys = [f"key-{row * 7}" for row in range(rows)]
        writer.append(keys, image, text, tuple(both) if digests else None)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """Name → contents of all files but locks."""
    return {
        each.name: each.read_bytes()
        for each in folder.iterdir()
        if each.name not in (".lock", ".in-use")
    }
