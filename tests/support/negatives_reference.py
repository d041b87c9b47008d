"""Mining queries in a corpus as docs/negatives.md states it, in plain float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import helip
from support.mining_reference import Mined, cosines, groups_of

#: In the order in which they apply.
DROPS = (
    "positive", "image_duplicate", "text_duplicate", "margin", "positive_duplicate", "collapsed",
)  # fmt: skip


def mine_negatives_plainly(
    queries: dict[str, np.ndarray],
    corpus: dict[str, np.ndarray],
    k: int,
    *,
    positives: Sequence[Sequence[int]] | None = None,
    relative_margin: float | None = None,
    image_max: float = 0.98,
    text_max: float = 0.98,
    min_score: float = 0.0,
    signed: bool = False,
    skip: int = 0,
    collapse: str = "none",
) -> Mined:
    """``queries`` and ``corpus``: matrices by modality, of which the same ones."""
    limits = {"image": image_max, "text": text_max}
    left = {name: np.asarray(rows, np.float64) for name, rows in queries.items()}
    right = {name: np.asarray(rows, np.float64) for name, rows in corpus.items()}
    count = len(next(iter(left.values())))
    rows = len(next(iter(right.values())))
    embedded = np.all([rows.any(axis=1) for rows in right.values()], axis=0)
    product = np.ones((count, rows))
    verdict = np.zeros((count, rows), int)
    for name, matrix in left.items():
        similar = cosines(matrix, right[name])
        verdict[(similar > limits[name]) & (verdict == 0)] = 1 + DROPS.index(f"{name}_duplicate")
        product *= similar if signed else np.maximum(similar, 0)
    equal = equal_queries(queries)
    for query in range(0 if positives is None else count):
        known = np.array(sorted({row for other in equal[query] for row in positives[other]}))
        scores = product[query, known[embedded[known]]]
        if relative_margin is not None and len(scores):
            close = product[query] > scores.min() * (1.0 - relative_margin)
            verdict[query, close & (verdict[query] == 0)] = 1 + DROPS.index("margin")
        alike = np.any(
            [
                (cosines(right[name][known], right[name]) > limits[name]).any(axis=0)
                & (limits[name] < 1)
                for name in right
            ],
            axis=0,
        )
        verdict[query, alike & (verdict[query] == 0)] = 1 + DROPS.index("positive_duplicate")
        verdict[query, known] = 1 + DROPS.index("positive")

    groups = None
    if collapse != "none":
        both = [cosines(right[name], right[name]) > limits[name] for name in right]
        near = {"both": np.all(both, axis=0), **dict(zip(right, both, strict=True))}[collapse]
        groups = groups_of(near)
    ids = np.full((count, k), -1)
    scores = np.zeros((count, k))
    counts = np.zeros(count, np.int64)
    drops = dict.fromkeys((*DROPS, "skipped"), 0)
    for query in range(count):
        order = np.argsort(-product[query], kind="stable")
        order = order[product[query, order] > min_score]
        ranked = verdict[query, order]
        if groups is not None:
            kept = np.flatnonzero(ranked == 0)
            _, best = np.unique(groups[order[kept]], return_index=True)
            ranked[np.delete(kept, best)] = 1 + DROPS.index("collapsed")
        for number, name in enumerate(DROPS, start=1):
            drops[name] += int((ranked[: k + skip] == number).sum())
        kept = order[ranked == 0][: k + skip]
        drops["skipped"] += min(skip, len(kept))
        kept = kept[skip:]
        counts[query] = len(kept)
        ids[query, : len(kept)] = kept
        scores[query, : len(kept)] = product[query, kept]
    return Mined(ids, scores, counts, drops)


def equal_queries(queries: dict[str, np.ndarray]) -> list[list[int]]:
    """Of each query those that are equal up to rounding, itself too; of zeros itself alone."""
    wide = [np.asarray(rows, np.float64) for rows in queries.values()]
    alike = np.all([cosines(rows, rows) > 0.99999 for rows in wide], axis=0)
    return [sorted({query, *np.flatnonzero(row).tolist()}) for query, row in enumerate(alike)]


def check_negatives(
    negatives: helip.HardNegatives, wanted: Mined, *, same_bits: bool = True
) -> None:
    """``same_bits``: rows are of whole numbers, where every path to a cosine gives the same."""
    np.testing.assert_array_equal(negatives.counts, wanted.counts)
    if same_bits:
        np.testing.assert_array_equal(negatives.ids, wanted.ids)
        np.testing.assert_array_equal(negatives.scores, wanted.scores.astype(np.float32))
        assert negatives.report["drops"] == wanted.drops
        return
    np.testing.assert_allclose(negatives.scores, wanted.scores, atol=1e-7)
    different = negatives.ids != wanted.ids
    assert different.mean() < 0.01


def whole_rows(rng: np.random.Generator, rows: int, cols: int) -> np.ndarray:
    """Of small whole numbers, close to each other in groups."""
    centres = rng.integers(-40, 41, (max(2, rows // 20), cols))
    near = centres[rng.integers(0, len(centres), rows)]
    return (near + rng.integers(-12, 13, (rows, cols))).astype(np.float32)
