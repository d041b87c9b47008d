"""Hard pair mining as docs/method.md states it, in plain float64: what the tests compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

import helip


def brute_force(
    image: np.ndarray,
    text: np.ndarray,
    k: int,
    *,
    image_max: float = 0.98,
    text_max: float = 0.98,
    min_score: float = 0.0,
    signed: bool = False,
    modality: str = "both",
) -> tuple[np.ndarray, np.ndarray]:
    """method.md, word for word, in float64: ids [N, k] and scores [N, k]."""
    n = len(image)
    product = np.ones((n, n))
    allowed = ~np.eye(n, dtype=bool)
    for name, matrix, limit in (("image", image, image_max), ("text", text, text_max)):
        if modality not in ("both", name):
            continue
        unit = np.asarray(matrix, np.float64)
        norm = np.linalg.norm(unit, axis=1, keepdims=True)
        unit = np.divide(unit, norm, out=np.zeros_like(unit), where=norm > 0)
        cosine = np.clip(unit @ unit.T, -1, 1)
        allowed &= cosine <= limit
        product *= cosine if signed else np.maximum(cosine, 0)
    product[~allowed] = 0
    ids = np.full((n, k), -1)
    scores = np.zeros((n, k))
    for i in range(n):
        order = np.argsort(-product[i], kind="stable")  # equal scores stay in the order of rows
        order = order[product[i, order] > min_score][:k]
        ids[i, : len(order)] = order
        scores[i, : len(order)] = product[i, order]
    return ids, scores


def check_exact(
    pairs: helip.HardPairs, image: np.ndarray, text: np.ndarray, **options: Any
) -> None:
    ids, scores = brute_force(image, text, pairs.k, **options)
    np.testing.assert_allclose(pairs.scores, scores, atol=1e-7)
    # Ties aside: where an id differs the scores agree.
    different = pairs.ids != ids
    assert different.mean() < 0.01
    np.testing.assert_allclose(pairs.scores[different], scores[different], atol=1e-7)
    np.testing.assert_array_equal(pairs.counts, (ids >= 0).sum(axis=1))
    assert (pairs.ids[pairs.scores == 0] == -1).all()
