"""Runs of float64 that warm the statistics of their optimizer, and what their loader gave."""

from __future__ import annotations

from helip.training.recipe import Recipe
from support.loop_samples import FakeLoader, bundle

SEED, LR = 5, 1e-2


def recipe(**options) -> Recipe:
    usual = {"lr": LR, "warmup": 2, "seed": SEED, "precision": "float32", "warm_statistics": 3}
    return Recipe(**usual | options)


class Doubles(FakeLoader):
    """Of float64; notes what it gave."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.given: list[tuple[int, int, float]] = []

    def _batches(self):
        for batch in super()._batches():
            batch["image"] = batch["image"].double()
            self.given.append((self.epoch, self.next, float(batch["image"].sum())))
            yield batch


def doubles():
    made = bundle()
    made.model.double()
    return made
