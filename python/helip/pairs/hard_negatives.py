"""HardNegatives: for each query the rows of a corpus that are close but do not belong to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

import numpy as np

from helip._core import HardNegatives as CoreNegatives
from helip.common.errors import InvalidArgumentError, MismatchError, UnsupportedError, needed
from helip.common.files import open_there
from helip.common.options import check
from helip.common.remote.downloading import local_copy
from helip.common.remote.manifest import NEGATIVES
from helip.pairs.exchange.exports import number_of_pairs
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.positives import Given, positives_of
from helip.store.embedding_store import EmbeddingStore, store_of


class HardNegatives(HardPairs):
    """For each query up to k rows of a corpus, best first: what ``mine(queries=…)`` gives.

    ``ids`` [Q, k] int32 (int64 from 2^31 rows) are rows of the corpus, -1 beyond ``counts``;
    ``scores`` [Q, k] float32 are cosine similarities, or products of two, 0 beyond ``counts``;
    ``counts`` [Q] int32. ``negatives[i]`` are those of query i. Immutable. No loader of helip takes
    them, whose tables are of pairs of one data set.

    Examples:
        >>> import helip, numpy as np
        >>> corpus = np.float32([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]])
        >>> queries = np.float32([[1, 0.1], [0.1, 1]])
        >>> negatives = helip.mine(
        ...     queries=queries, corpus=corpus, positives=[0, 2], k=2, progress=False
        ... )
        >>> negatives
        HardNegatives(queries=2, corpus=4, k=2, method='exact')
        >>> negatives.ids.tolist()
        [[1, 3], [3, 1]]
    """

    _core: CoreNegatives  # type: ignore[assignment]

    def __init__(self, core: CoreNegatives) -> None:
        super().__init__(core)  # type: ignore[arg-type]

    @classmethod
    def open(  # type: ignore[override]
        cls,
        path: str | os.PathLike[str],
        *,
        cache: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> HardNegatives:
        """Opens a saved table; headers, ids and counts are checked, scores are mapped.

        ``path`` may be a URL, whose table is downloaded to ``cache``: see :meth:`HardPairs.open`.

        Raises:
            StorageError: no table there. CorruptError: it is damaged. MismatchError: it is
                something else.
        """
        path = local_copy(path, (NEGATIVES,), cache=cache, progress=progress)
        return cls(open_there(CoreNegatives.open, path, "table of hard negatives"))

    def __repr__(self) -> str:
        method = self.options.get("method", "?")
        return (
            f"HardNegatives(queries={len(self):,}, corpus={self.corpus_rows:,}, k={self.k}, "
            f"method={method!r})"
        )

    @property
    def corpus_rows(self) -> int:
        """Rows that ids number."""
        return self._core.corpus_rows

    def stats(self) -> dict[str, Any]:
        """``targets`` (the queries), ``corpus_rows, k, pairs, outliers, short_targets`` and what
        mining reported, such as ``equal_queries``, which share their positives.

        ``drops`` counts, over all queries, what would be among the best k + skip but for a rule:
        ``positive``, ``image_duplicate`` and ``text_duplicate`` of the query itself, ``margin``
        (``relative_margin``), ``positive_duplicate``, ``collapsed``; and what was ``skipped``.
        """
        counts = self.counts
        return {
            **self.report,
            "targets": len(self),
            "corpus_rows": self.corpus_rows,
            "k": self.k,
            "pairs": int(counts.sum(dtype="int64")),
            "outliers": int((counts == 0).sum()),
            "short_targets": int((counts < self.k).sum()),
        }

    def to_dataset(  # type: ignore[override]
        self,
        queries: Sequence[str],
        corpus: Sequence[str],
        positives: Given,
        format: Literal["triplet", "n-tuple"] = "triplet",
        *,
        num_negatives: int = 3,
        query_store: EmbeddingStore | str | os.PathLike[str] | None = None,
        corpus_store: EmbeddingStore | str | os.PathLike[str] | None = None,
    ) -> Any:
        """A ``datasets.Dataset`` that the losses of sentence-transformers train on.

        Columns: ``anchor``, ``positive`` and ``negative``, a row for each negative (``triplet``),
        or ``negative_1`` … ``negative_n`` in one row (``n-tuple``). Each positive of a query has
        rows of its own. Queries with fewer negatives than an n-tuple needs, or with none, are left
        out: ``len`` of the result tells how many rows are there.

        Args:
            queries: text of each query [Q], or whatever ``datasets`` takes for a column.
            corpus: that of each row of the corpus, likewise.
            positives: those that were mined with, in any form that ``mine`` takes.
            num_negatives: of a query, 1 .. k.
            query_store, corpus_store: the stores that were mined, for positives by keys.

        Raises:
            InvalidArgumentError: another number of texts; a value out of its bound; a table that
                was mined without positives. MismatchError: it was mined with others.
                UnsupportedError: datasets is absent.
        """
        check("format", format, Literal["triplet", "n-tuple"])
        count = number_of_pairs(self._core, "num_negatives", num_negatives)  # type: ignore[arg-type]
        queries, corpus = list(queries), list(corpus)
        for name, texts, rows in (
            ("queries", queries, len(self)), ("corpus", corpus, self.corpus_rows),
        ):  # fmt: skip
            if len(texts) != rows:
                raise InvalidArgumentError(
                    f"{name} has {len(texts):,} texts, and the table was mined from {rows:,}; give "
                    "the text of each, in the same order"
                )
        with needed("Hugging Face data sets need the datasets library", "helip[data]"):
            import datasets
        stores = (None if each is None else store_of(each) for each in (query_store, corpus_store))
        known = positives_of(
            positives, len(self), **dict(zip(("query_store", "corpus_store"), stores, strict=True))
        )
        if not self.options["positives"]:
            raise InvalidArgumentError(
                "the table was mined without positives, which may be among its negatives; mine "
                "with positives="
            )
        if len(known.begins) == 0:
            raise InvalidArgumentError("positives are missing; give those that were mined with")
        if known.digest != self.options["positives"]:
            raise MismatchError(
                "these positives are not those that the table was mined with; give the same"
            )
        anchors = np.repeat(np.arange(len(self)), np.diff(known.begins))
        negatives = self.ids[anchors, :count].astype(np.int64)  # [rows, n]
        own = known.rows
        if format == "n-tuple":
            whole = negatives[:, -1] >= 0
            lists = {f"negative_{i + 1}": negatives[whole, i] for i in range(count)}
            anchors, own = anchors[whole], own[whole]
        else:
            there = negatives >= 0
            anchors, own = (np.repeat(rows, there.sum(axis=1)) for rows in (anchors, own))
            lists = {"negative": negatives[there]}
        columns = {"anchor": [queries[row] for row in anchors.tolist()]}
        for name, rows in {"positive": own, **lists}.items():
            columns[name] = [corpus[row] for row in rows.tolist()]
        return datasets.Dataset.from_dict(columns)

    @classmethod
    def from_arrays(cls, *_: Any, **__: Any) -> NoReturn:
        """Refused: a table of hard negatives is mined, or opened."""
        raise _not_made("from_arrays")

    @classmethod
    def from_csv(cls, *_: Any, **__: Any) -> NoReturn:
        """Refused: a table of hard negatives is mined, or opened."""
        raise _not_made("from_csv")

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> NoReturn:
        """Refused: a table of hard negatives is mined, or opened."""
        raise _not_made("from_pretrained")

    def _repr_html_(self) -> None:
        return None

    def _whole(self) -> NoReturn:
        raise UnsupportedError(
            "hard negatives name rows of another data set than their queries; what is asked for "
            "takes a table of hard pairs of one data set: helip.mine(store)"
        )

    def _table(self) -> HardNegatives:
        return self


def _not_made(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"HardNegatives.{name} is not there: a table of hard negatives comes from "
        "helip.mine(queries=…), or from HardNegatives.open"
    )
