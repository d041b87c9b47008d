"""Hard pair mining as docs/method.md states it, in plain float64: what the tests compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import helip

DROPS = ("image_duplicate", "text_duplicate", "margin", "collapsed")  # in the order they apply
_BLOCK = 512  # targets that are ranked together


@dataclass(frozen=True)
class Mined:
    """Pools in float64, and how many pairs each filter kept out of them."""

    ids: np.ndarray  # [N, k], -1 beyond counts
    scores: np.ndarray  # [N, k] float64, 0 beyond counts
    counts: np.ndarray  # [N]
    drops: dict[str, int]


def lengths(matrix: np.ndarray) -> np.ndarray:
    return np.sqrt((matrix * matrix).sum(axis=1))


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """All cosines of two sets of rows, 0 for zero rows.

    For whole numbers up to about a million, every product and sum is exact, so that one rounding
    of the lengths and one of the quotient remain: the same bits on every path.
    """
    norm = lengths(left)[:, None] * lengths(right)[None, :]
    dots = left @ right.T
    return np.clip(np.divide(dots, norm, out=np.zeros_like(dots), where=norm > 0), -1, 1)


def groups_of(near: np.ndarray) -> np.ndarray:
    """For each row the first one that it is connected to. ``near`` [N, N] is symmetric."""
    first = np.full(len(near), -1)
    for row in range(len(near)):
        if first[row] >= 0:
            continue
        first[row] = row
        edge = np.array([row])
        while len(edge):
            edge = np.flatnonzero(near[edge].any(axis=0) & (first < 0))
            first[edge] = row
    return first


def mine_plainly(
    image: np.ndarray,
    text: np.ndarray,
    k: int,
    *,
    image_max: float = 0.98,
    text_max: float = 0.98,
    min_score: float = 0.0,
    signed: bool = False,
    modality: str = "both",
    margin: float | None = None,
    skip: int = 0,
    collapse: str = "none",
) -> Mined:
    """method.md, word for word, in float64."""
    given = {"image": image, "text": text}
    rows = {name: np.asarray(x, np.float64) for name, x in given.items() if x is not None}
    limits = {"image": image_max, "text": text_max}
    used = ("image", "text") if modality == "both" else (modality,)
    n = len(rows[used[0]])

    groups = None
    if collapse != "none":
        near = np.ones((n, n), bool)
        for name in ("image", "text") if collapse == "both" else (collapse,):
            near &= cosines(rows[name], rows[name]) > limits[name]
        groups = groups_of(near)

    ids = np.full((n, k), -1)
    scores = np.zeros((n, k))
    counts = np.zeros(n, np.int64)
    drops = dict.fromkeys((*DROPS, "skipped"), 0)
    for start in range(0, n, _BLOCK):
        targets = np.arange(start, min(n, start + _BLOCK))
        product = np.ones((len(targets), n))
        verdict = np.zeros(
            (len(targets), n), int
        )  # 0: counts, else one more than the place in DROPS
        for name in used:
            similar = cosines(rows[name][targets], rows[name])
            verdict[(similar > limits[name]) & (verdict == 0)] = 1 + DROPS.index(
                f"{name}_duplicate"
            )
            product *= similar if signed else np.maximum(similar, 0)
        if margin is not None:
            fit = np.maximum(
                cosines(rows["image"][targets], rows["text"]),
                cosines(rows["text"][targets], rows["image"]),
            )
            own = fit[np.arange(len(targets)), targets]
            verdict[(fit > own[:, None] - margin) & (verdict == 0)] = 1 + DROPS.index("margin")
        product[np.arange(len(targets)), targets] = -np.inf

        order = np.argsort(-product, axis=1, kind="stable")  # equal scores: in the order of rows
        product = np.take_along_axis(product, order, 1)
        verdict = np.take_along_axis(verdict, order, 1)
        verdict[product <= min_score] = -1
        for place, target in enumerate(targets):
            ranked = verdict[place]
            if groups is not None:
                kept = np.flatnonzero(ranked == 0)
                _, best = np.unique(groups[order[place, kept]], return_index=True)
                ranked[np.delete(kept, best)] = 1 + DROPS.index("collapsed")
            for number, name in enumerate(DROPS, start=1):
                drops[name] += int((ranked[: k + skip] == number).sum())
            kept = np.flatnonzero(ranked == 0)[: k + skip]
            drops["skipped"] += min(skip, len(kept))
            kept = kept[skip:]
            counts[target] = len(kept)
            ids[target, : len(kept)] = order[place, kept]
            scores[target, : len(kept)] = product[place, kept]
    return Mined(ids, scores, counts, drops)


def brute_force(
    image: np.ndarray, text: np.ndarray, k: int, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Ids [N, k] and scores [N, k] of the pools alone."""
    mined = mine_plainly(image, text, k, **options)
    return mined.ids, mined.scores


def check_exact(
    pairs: helip.HardPairs, image: np.ndarray, text: np.ndarray, **options: Any
) -> None:
    """For rows of any values, where two paths to a cosine may differ by a few roundings."""
    wanted = mine_plainly(image, text, **{"k": pairs.k, **options})
    np.testing.assert_allclose(pairs.scores, wanted.scores, atol=1e-7)
    # Ties aside: where an id differs the scores agree.
    different = pairs.ids != wanted.ids
    assert different.mean() < 0.01
    np.testing.assert_allclose(pairs.scores[different], wanted.scores[different], atol=1e-7)
    np.testing.assert_array_equal(pairs.counts, wanted.counts)
    assert (pairs.ids[pairs.scores == 0] == -1).all()


def check_same_bits(
    pairs: helip.HardPairs, image: np.ndarray, text: np.ndarray, **options: Any
) -> None:
    """For rows of whole numbers, where every path to a cosine gives the same bits."""
    wanted = mine_plainly(image, text, **{"k": pairs.k, **options})
    np.testing.assert_array_equal(pairs.counts, wanted.counts)
    np.testing.assert_array_equal(pairs.ids, wanted.ids)
    np.testing.assert_array_equal(pairs.scores, wanted.scores.astype(np.float32))
    assert pairs.report["drops"] == wanted.drops
