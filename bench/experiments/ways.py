"""Ways to make batches that the experiments on icons compare."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rivals
import selection

import helip
from helip import HardPairs
from helip.loading.row_facts import HardRows
from helip.loading.sampling import Plans

WINDOW = {"rank_max": 50}


def uniform(p: int) -> dict[str, Any]:
    return {**WINDOW, "strategy": "uniform", "hard_per_target": p}


def communities(rows: int, **options: Any) -> dict[str, Any]:
    return {**WINDOW, "strategy": "communities", "community_rows": rows, **options}


#: What `helip.HardPairLoader` and `helip.train` are asked for.
WAYS: dict[str, dict[str, Any]] = {
    "control": {"hard_per_target": 0},
    **{f"HELIP, p = {p}": uniform(p) for p in (1, 7, 31)},
    **{f"communities of {rows}": communities(rows) for rows in (2, 4, 8, 16, 32, 64, 128)},
    "communities of 8, ranks 0 to 10": communities(8, rank_max=10),
    "communities of 8, ranks 10 to 30": communities(8, rank_min=10, rank_max=30),
    "communities of 8, ranks 30 to 100": communities(8, rank_min=30, rank_max=100),
    "communities of 8, ranks 70 to 100": communities(8, rank_min=70, rank_max=100),
    "communities of 8, half of the batch": communities(8, fraction=0.5),
    "walks of 8": {**WINDOW, "strategy": "walk", "walk_rows": 8},
    "walks of 32": {**WINDOW, "strategy": "walk", "walk_rows": 32},
}  # fmt: skip
#: Batches for ever, of a table, so many rows and a seed.
PARTITIONS: dict[str, Callable[[HardPairs, int, int], Iterator[np.ndarray]]] = {
    f"B3, parts of {part}": lambda pairs, rows, seed, part=part: rivals.b3(
        pairs, rows, seed, ranks=WINDOW["rank_max"], part=part
    )
    for part in (8, 32, 256)
}
_TRIES = 64  # communities that are looked at before the next one is taken as it is


def communities_of(loader: Any, epoch: int) -> list[np.ndarray]:
    """The communities of an epoch, in its order; a row that is in none is one of its own."""
    loader._sampler.set_epoch(epoch)
    drawn = [loader._sampler.batch(step) for step in range(len(loader))]
    order, number = (np.concatenate([each[i] for each in drawn]) for i in (0, 2))
    return np.split(order, np.flatnonzero((number[1:] != number[:-1]) | (number[1:] < 0)) + 1)


def between(kind: str, loader: Any, pairs: HardPairs, rows: int, seed: int) -> Iterator[np.ndarray]:
    """Batches for ever of the loader's communities, which come ``near``: each has a hard pair in
    one of its batch; ``far``: none has, where that can be; or ``balanced``: of the next 64 that one
    comes which has the largest share of concepts that are not in its batch yet."""
    next_of = _balanced(loader) if kind == "balanced" else _apart(kind, pairs)
    for epoch in itertools.count():
        left = communities_of(loader, epoch)
        np.random.default_rng([seed, epoch]).shuffle(left)
        batch = np.zeros(0, np.int64)
        while left:
            batch = np.concatenate([batch, left.pop(next_of(left, batch))])
            if len(batch) >= rows:
                yield batch[:rows]
                batch = batch[rows:]


def _apart(kind: str, pairs: HardPairs) -> Callable[[list[np.ndarray], np.ndarray], int]:
    ids = pairs.ids[:, : WINDOW["rank_max"]]

    def next_of(left: list[np.ndarray], batch: np.ndarray) -> int:
        for place in range(-1, -min(_TRIES, len(left)) - 1, -1):
            if len(batch) == 0 or np.isin(ids[left[place]], batch).any() == (kind == "near"):
                return place
        return -1

    return next_of


def _balanced(loader: Any) -> Callable[[list[np.ndarray], np.ndarray], int]:
    data = loader.dataset
    concepts = selection.concepts_of([" ".join(data.captions(row)) for row in range(len(data))])

    def next_of(left: list[np.ndarray], batch: np.ndarray) -> int:
        there = np.zeros(concepts.shape[1], bool)
        there[concepts[batch].indices] = True
        held = [np.unique(concepts[part].indices) for part in left[-_TRIES:]]
        shares = [1 - there[own].mean() if len(own) else 0.0 for own in held]
        return int(np.argmax(shares)) - len(held)

    return next_of


def best_half(
    loader: Any, scores: Callable[[], np.ndarray], rows: int, seed: int
) -> Iterator[np.ndarray]:
    """Batches for ever of that half of an epoch's communities whose rows score highest in the mean,
    with Gumbel noise. Scores, of all rows, are asked for when an epoch begins."""
    for epoch in itertools.count():
        parts, of = communities_of(loader, epoch), scores()
        means = np.array([of[part].mean() for part in parts])
        noisy = means + np.random.default_rng([seed, epoch]).gumbel(size=len(means))
        kept = np.concatenate([
            part for part, score in zip(parts, noisy, strict=True) if score >= np.median(noisy)
        ])  # fmt: skip
        yield from (kept[at : at + rows] for at in range(0, len(kept) - rows + 1, rows))


def batches(
    way: str, data: Any, pairs: HardPairs, rows: int, seed: int, **options: Any
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Rows of the data set batch by batch, for ever, and what the margin loss is told of them.

    That is ``target``, and in communities ``hard_rows`` as well, as `helip.HardPairLoader` gives
    them. ``options`` are more of the loader's.
    """
    if way in PARTITIONS:
        for batch in PARTITIONS[way](pairs, rows, seed):
            yield batch, {"target": np.arange(len(batch))}
        return
    way, _, kind = way.partition(", between: ")
    asked = {**WAYS[way], **options}
    loader = helip.HardPairLoader(data, pairs, batch_size=rows, seed=seed, workers=0, **asked)
    window = asked.get("rank_min", 0), asked.get("rank_max", pairs.ids.shape[1])
    hard_rows = HardRows(pairs)
    if kind:
        for batch in between(kind, loader, pairs, rows, seed):
            yield batch, {"target": np.arange(len(batch))}
    epoch = 0
    while True:
        # What planned_rows gives, and whom each row serves.
        for plan in Plans(loader._sampler, epoch, 0, range(len(loader))):
            beside = {"target": plan.target}
            if loader.strategy == "communities":
                beside["hard_rows"] = hard_rows.padded(plan.index, *window)
            yield plan.index, beside
        epoch += 1
