"""What `run.py` runs: variants of one thing, each with several seeds, and what is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Experiment:
    """Variants have a ``name``, and ``against``: the name of what they are compared with, None for
    the first variant, and "" for nothing."""

    title: str
    variants: tuple[Any, ...]
    seeds: tuple[int, ...] = (0, 1, 2)

    @property
    def compared(self) -> dict[str, str]:
        """Name -> name of what it is compared with."""
        first = self.variants[0].name
        told = {v.name: first if v.against is None else v.against for v in self.variants}
        return {name: other for name, other in told.items() if other and name != first}
