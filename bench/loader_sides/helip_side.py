"""helip: HardPairLoader on tar shards, by threads of the core.

- ``helip``: JPEGs of twice the size that a crop needs are decoded to a half of it, or less.
- ``helip-exact``: every picture is decoded in its full size (``exact_decode=True``).
- ``helip-wide``: crops of 8 to 100 % of the area, beside ``turboloader``.
- ``helip-sequential``: the shards front to back, through the same code.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from pictures import Pictures, hard_pairs

from loader_sides.order import Order
from loader_sides.side import SCALE, SIZE, Batches, Side, tokenizer


def helip(pictures: Pictures, order: Order, workers: int) -> Batches:
    return _endless(loader(pictures, order, workers))


def exact(pictures: Pictures, order: Order, workers: int) -> Batches:
    return _endless(loader(pictures, order, workers, exact_decode=True))


def wide(pictures: Pictures, order: Order, workers: int) -> Batches:
    return _endless(loader(pictures, order, workers, scale=(0.08, 1.0)))


def sequential(pictures: Pictures, order: Order, workers: int) -> Batches:
    return _endless(in_order(pictures, order, workers))


def loader(pictures: Pictures, order: Order, workers: int, **options: Any) -> Any:
    import helip

    data = helip.open_dataset(pictures.shards, progress=False)
    pairs = helip.HardPairs.from_arrays(*hard_pairs(order.rows)) if order.has_hard_pairs else None
    return helip.HardPairLoader(
        data, pairs, batch_size=order.batch, hard_per_target=0 if pairs is None else 1,
        workers=workers, tokenizer=tokenizer(),
        transform=helip.ImageTransform.train(**{"size": SIZE, "scale": SCALE} | options),
    )  # fmt: skip


def in_order(pictures: Pictures, order: Order, workers: int) -> Any:
    loaded = loader(pictures, Order(order.rows, order.batch), workers)
    loaded._sampler = _InOrder(loaded._sampler, order.rows, order.batch)
    return loaded


def _endless(loader: Iterable[dict[str, Any]]) -> Batches:
    while True:
        for batch in loader:
            yield batch["image"], batch["text"]


class _InOrder:
    """A batch sampler whose batches are the rows from the first to the last."""

    def __init__(self, sampler: Any, rows: int, batch: int) -> None:
        self._sampler, self._rows, self._batch = sampler, rows, batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self._sampler.batch(step)  # for its counts
        rows = np.arange(step * self._batch, min((step + 1) * self._batch, self._rows))
        return rows, np.arange(len(rows)), np.zeros(len(rows), dtype=np.int64)


SIDES = {
    "helip": Side(helip, ("helip",), "helip"),
    "helip-exact": Side(exact, ("helip",), "helip"),
    "helip-wide": Side(wide, ("helip",), "helip", less_work="crops of 8 to 100 %"),
    "helip-sequential": Side(sequential, ("helip",), "helip", hard_pairs=False),
}
