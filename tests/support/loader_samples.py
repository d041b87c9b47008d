"""A data set in memory and tables of hard pairs, for tests of the loader."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from PIL import Image

from helip.pairs.hard_pairs import HardPairs


class FakeData:
    """One-colour pictures; row i is red i."""

    def __init__(self, rows: int, fingerprint: str = "a" * 32) -> None:
        self.keys = [f"key-{row}" for row in range(rows)]
        self.fingerprint = fingerprint

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> dict:
        image = Image.new("RGB", (2, 2), (row % 256, 0, 0))
        return {"key": self.keys[row], "image": image, "text": f"caption {row}", "index": row}


def to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def random_pools(rows: int, k: int, seed: int) -> list[list[tuple[int, float]]]:
    """Pools of 0 .. k rows close by and far away, best first; scores are float32."""
    return [[*pool] for pool in _random_pools(rows, k, seed)]


@functools.cache
def _random_pools(rows: int, k: int, seed: int) -> list[list[tuple[int, float]]]:
    random = np.random.default_rng(seed)
    pools = []
    for row in range(rows):
        near = (row + np.concatenate([np.arange(1, k + 1), -np.arange(1, k + 1)])) % rows
        far = random.choice(rows, size=min(rows, k), replace=False)
        others = np.setdiff1d(np.unique(np.concatenate([near, far])), [row])
        count = min(len(others), k if random.random() < 0.7 else int(random.integers(0, k + 1)))
        chosen = random.choice(others, size=count, replace=False)
        scores = np.sort(random.random(count).astype(np.float32))[::-1]
        pools.append([(int(id), float(score)) for id, score in zip(chosen, scores, strict=True)])
    return pools


def table_of(pools: list[list[tuple[int, float]]], k: int) -> HardPairs:
    ids = np.full((len(pools), k), -1, dtype=np.int32)
    scores = np.zeros((len(pools), k), dtype=np.float32)
    for row, pool in enumerate(pools):
        for rank, (id, score) in enumerate(pool):
            ids[row, rank], scores[row, rank] = id, score
    counts = np.array([len(pool) for pool in pools], dtype=np.int32)
    return HardPairs.from_arrays(ids, scores, counts, data_fingerprint="a" * 32)


def drawing(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a loader or a run that draws hard pairs for each target, unless they say how.

    By themselves loaders make communities, of which tests/python/loading/test_strategy.py tells.
    """
    if {"strategy", "draw_temperature"} & options.keys():
        return options
    return {"strategy": "uniform" if options.get("schedule") is None else "scheduled", **options}
