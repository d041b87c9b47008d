"""Draws options."""

from __future__ import annotations

from typing import Any

import numpy as np


class Dice:
    """Plain Python values, drawn from a generator."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random

    def whole(self, low: int, high: int) -> int:
        """From low to high - 1."""
        return int(self.random.integers(low, high))

    def chance(self, odds: float) -> bool:
        return bool(self.random.random() < odds)

    def of(self, *values: Any) -> Any:
        return values[self.whole(0, len(values))]

    def mostly(self, first: Any, *others: Any, odds: float = 0.2) -> Any:
        """The first, or with these odds one of the others."""
        return self.of(*others) if self.chance(odds) else first
