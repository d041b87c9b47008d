"""HardPairsPart: the pools of a range of targets, until the parts of a job are merged."""

from __future__ import annotations

import os
from typing import Any, NoReturn

from helip._core import HardPairsPart as CorePart
from helip.common.errors import UnsupportedError
from helip.common.remote.downloading import local_copy
from helip.common.remote.manifest import PART
from helip.pairs.hard_pairs import HardPairs


class HardPairsPart(HardPairs):
    """Targets ``first`` to ``last - 1`` of a table of ``rows`` targets. Immutable.

    Row i of ``ids`` [last - first, k], ``scores`` and ``counts`` belongs to target first + i; ids
    are rows of the whole data set. No loader takes a part: ``helip.merge`` makes the table.
    """

    _core: CorePart  # type: ignore[assignment]

    def __init__(self, core: CorePart) -> None:
        super().__init__(core)  # type: ignore[arg-type]

    @classmethod
    def open(  # type: ignore[override]
        cls,
        path: str | os.PathLike[str],
        *,
        cache: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> HardPairsPart:
        """Opens a part; headers are checked, the rest is checked by :meth:`verify`.

        ``path`` may be a URL, whose part is downloaded to ``cache``: see :meth:`HardPairs.open`.

        Raises:
            StorageError: no part there. CorruptError: it is damaged. MismatchError: it is
                something else.
        """
        path = local_copy(path, (PART,), cache=cache, progress=progress)
        return cls(CorePart.open(os.fspath(path)))

    def __repr__(self) -> str:
        return (
            f"HardPairsPart({self.index}/{self.count}, targets={self.first:,}..{self.last:,} of "
            f"{self.rows:,}, k={self.k})"
        )

    @property
    def index(self) -> int:
        """Which part it is, counted from 1."""
        return self._core.index

    @property
    def count(self) -> int:
        """Number of parts of the job."""
        return self._core.count

    @property
    def first(self) -> int:
        """The first target."""
        return self._core.first

    @property
    def last(self) -> int:
        """One past the last target."""
        return self._core.last

    @property
    def rows(self) -> int:
        """Targets of the whole table."""
        return self._core.rows

    @property
    def corpus_rows(self) -> int | None:
        """Of a part of hard negatives the rows that ids number; None of one of hard pairs."""
        return rows if (rows := self._core.corpus_rows) >= 0 else None

    def stats(self) -> dict[str, Any]:
        """``targets, k, pairs, outliers, short_targets`` of this part, and what mining reported."""
        counts = self.counts
        corpus = {} if self.corpus_rows is None else {"corpus_rows": self.corpus_rows}
        return {
            **self.report,
            **corpus,
            "part": f"{self.index}/{self.count}",
            "first": self.first,
            "last": self.last,
            "rows": self.rows,
            "targets": len(self),
            "k": self.k,
            "pairs": int(counts.sum(dtype="int64")),
            "outliers": int((counts == 0).sum()),
            "short_targets": int((counts < self.k).sum()),
        }

    def _repr_html_(self) -> None:
        return None

    def _whole(self) -> NoReturn:
        raise UnsupportedError(
            "a part is not a table; merge the parts (helip.merge), and do this with their table"
        )
