"""What the sides of bench/scale.py are held against: exact pools of a fixed sample of targets.

A float64 brute force in NumPy over all rows, cached beside the data. It shares no code with any
side. Recall is by score: a hard pair counts if its score, computed anew in float64, reaches the
k-th best score of the target, so that of several equal ones any will do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DUPLICATE = 0.98  # helip's default, and the paper's
SLACK = 1e-6  # what a float32 score may be off
FACTORS = (1.25, 1.5, 2.0, 4.0)  # k′ / k that a side may retrieve
BLOCK = 16_384


@dataclass(frozen=True)
class Truth:
    """Of each sampled target: its row, its k-th best score, the size of its pool."""

    targets: np.ndarray  # int64 [n], in order
    least: np.ndarray  # float64 [n], the last score of the pool
    counts: np.ndarray  # int64 [n], up to k
    ceilings: np.ndarray  # float64 [len(FACTORS)], see `wide`

    def wide(self, k: int, enough: float) -> int:
        """The least k′ that can do: among the k′ best by sᴵ + sᵀ lie ``enough`` of the pools."""
        known = zip(FACTORS, self.ceilings, strict=True)
        return round(k * next((f for f, ceiling in known if ceiling >= enough), FACTORS[-1]))


def truth_of(data: Path, k: int, sample: int) -> Truth:
    """Solved on first use, then read."""
    path = data.parent / f"{data.name}-truth-k{k}-{sample}.npz"
    if not path.exists():
        image, text = (np.load(data / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
        solved = solve(image, text, k, sample)
        staging = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(staging, **vars(solved))
        os.replace(staging, path)
    with np.load(path) as arrays:
        return Truth(**arrays)


def solve(image: np.ndarray, text: np.ndarray, k: int, sample: int) -> Truth:
    rows = len(image)
    targets = np.sort(np.random.default_rng(0).choice(rows, min(sample, rows), replace=False))
    u, v = unit(image[targets]), unit(text[targets])
    widest = round(k * FACTORS[-1])
    best = np.zeros((len(targets), k))
    sums = np.full((len(targets), widest), -np.inf)  # the widest best by sᴵ + sᵀ
    of_sums = np.zeros((len(targets), widest))  # and their scores
    for first in range(0, rows, BLOCK):
        block = slice(first, first + BLOCK)
        s_image, s_text = u @ unit(image[block]).T, v @ unit(text[block]).T
        found = scores(s_image, s_text)
        found[targets[:, None] == np.arange(first, first + found.shape[1])] = 0
        best = -np.partition(-np.hstack((best, found)), k - 1, axis=1)[:, :k]
        sums, of_sums = np.hstack((sums, s_image + s_text)), np.hstack((of_sums, found))
        order = np.argpartition(-sums, widest - 1, axis=1)[:, :widest]
        sums, of_sums = (np.take_along_axis(part, order, 1) for part in (sums, of_sums))
    counts = (best > 0).sum(axis=1)
    least = np.where(counts == k, best.min(axis=1), np.where(best > 0, best, np.inf).min(axis=1))
    order = np.argsort(-sums, axis=1)
    hits = np.take_along_axis(of_sums, order, 1) >= least[:, None]
    some = counts > 0
    ceilings = [
        float((np.minimum(hits[:, : round(k * factor)].sum(1), counts)[some] / counts[some]).mean())
        for factor in FACTORS
    ]
    return Truth(targets, least, counts, np.array(ceilings))


def recall(truth: Truth, ids: np.ndarray, image: np.ndarray, text: np.ndarray) -> list[float]:
    """Recall of the pools ``ids`` [n, k] of the sampled targets: mean, and its 95 % limits."""
    shares = []
    for target, least, count, pool in zip(
        truth.targets, truth.least, truth.counts, ids, strict=True
    ):
        if count == 0:
            continue
        pool = np.unique(pool[(pool >= 0) & (pool != target)])
        s_image = unit(image[pool]) @ unit(image[target])
        s_text = unit(text[pool]) @ unit(text[target])
        shares.append(min(count, (scores(s_image, s_text) >= least - SLACK).sum()) / count)
    mean, error = float(np.mean(shares)), 1.96 * float(np.std(shares)) / len(shares) ** 0.5
    return [mean, max(0.0, mean - error), min(1.0, mean + error)]


def scores(s_image: np.ndarray, s_text: np.ndarray) -> np.ndarray:
    fit = (s_image <= DUPLICATE) & (s_text <= DUPLICATE)
    return np.maximum(s_image, 0) * np.maximum(s_text, 0) * fit


def unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
