"""A store for whole jobs of mining, and the files of what they write."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import helip


def write_store(path: Path, rows: int) -> Path:
    """Rows of 64 + 32 dimensions about 400 centres."""
    random_numbers = np.random.default_rng(0)
    centres = random_numbers.normal(size=(400, 96))
    values = centres[random_numbers.integers(0, 400, rows)] + 0.9 * random_numbers.normal(
        size=(rows, 96)
    )
    with helip.EmbeddingStore.create(path, image_dim=64, text_dim=32) as writer:
        writer.append([str(i) for i in range(rows)], values[:, :64], values[:, 64:])
    return path


def files_of(path: Path) -> dict[str, bytes]:
    """Name → contents, of a table or a store, without what is no part of it."""
    return {
        entry.name: entry.read_bytes()
        for entry in sorted(path.iterdir())
        if entry.name not in (".lock", "helip.yaml")
    }
