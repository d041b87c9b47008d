"""Cosines and recall of pools between two precisions."""

from __future__ import annotations

import numpy as np
import torch

from helip.encoders.jobs.computing import lowest_cosine, pool_recall


def test_the_lowest_cosine_is_that_of_the_worst_row():
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    others = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    assert abs(lowest_cosine(rows, others) - 0.5**0.5) < 1e-12


def test_recall_is_the_share_of_hard_pairs_that_are_found_again():
    draw = torch.Generator().manual_seed(0)
    image, text = (torch.randn(30, 6, generator=draw) for _ in range(2))
    noisy = image + 0.5 * torch.randn(30, 6, generator=draw)
    k = 4

    def pools(a, b):
        a, b = (np.asarray(x, dtype=np.float64) for x in (a, b))
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        scores = (a @ a.T) * (b @ b.T)
        np.fill_diagonal(scores, -9)
        return [set(np.argsort(-row)[:k]) for row in scores]

    expected = np.mean(
        [len(a & b) / k for a, b in zip(pools(image, text), pools(noisy, text), strict=True)]
    )
    assert 0.1 < expected < 1
    assert abs(pool_recall((image, noisy), (text, text), k=k) - expected) < 1e-12
    assert pool_recall((image, image), (text, text), k=k) == 1


def test_too_few_rows_have_no_pools():
    rows = torch.eye(4)
    assert pool_recall((rows, rows), (rows, rows), k=4) is None
