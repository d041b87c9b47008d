"""TargetPool: one target of a table, and its hard pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from helip.pairs.cosines import Floats, pool_cosines
from helip.store.embedding_store import EmbeddingStore

_SHOWN = 3


@dataclass(frozen=True, eq=False, repr=False)
class TargetPool:
    """The hard pairs of one target, best first. Immutable; ``len(pool)`` is their number.

    Keys and similarities are read from the store that was mined when they are first asked for;
    they are None where the table does not know it, see :meth:`helip.HardPairs.with_store`.
    """

    target: int
    """Row of the target."""
    ids: np.ndarray
    """Rows of the hard pairs, int32 or int64 [count], over the memory of the table."""
    scores: np.ndarray
    """Their scores, float32 [count], falling."""
    store: EmbeddingStore | None = None
    """The store that was mined, where the table knows it."""

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        name = "" if self.key is None else f", key={self.key!r}"
        ids = ", ".join(map(str, self.ids[:_SHOWN].tolist()))
        more = ", …" if len(self) > _SHOWN else ""
        return f"TargetPool(target={self.target}{name}, ids=[{ids}{more}], count={len(self)})"

    @cached_property
    def key(self) -> str | None:
        """Key of the target."""
        return None if self.store is None else self.store.keys[self.target]

    @cached_property
    def keys(self) -> tuple[str, ...] | None:
        """Keys of the hard pairs [count]."""
        if self.store is None:
            return None
        return tuple(self.store.keys.take(self.ids.tolist()))

    @property
    def image_similarity(self) -> Floats | None:
        """Cosine similarities of the target's image with those of its hard pairs, float32 [count].

        Computed in float64 from the values of the store; NaN where one of the two rows is zero or
        deleted.
        """
        return None if self._similarities is None else self._similarities[0]

    @property
    def text_similarity(self) -> Floats | None:
        """Those of the captions; see :attr:`image_similarity`."""
        return None if self._similarities is None else self._similarities[1]

    @cached_property
    def _similarities(self) -> tuple[Floats, Floats] | None:
        return None if self.store is None else pool_cosines(self.store, self.target, self.ids)
