"""Positives of queries: the rows of a corpus that belong to each, in the forms that people have."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, needed
from helip.common.files import storage_errors
from helip.store.embedding_store import EmbeddingStore
from helip.store.keys import KeyIndex

#: What `positives_of` takes: see `helip.mine`.
Given = Any
_FORMS = (
    "pass [Q] or [Q, p] row numbers of the corpus (-1 for none), a list of rows for each query, a "
    "mapping of keys of both stores, or a file of them (.tsv, .csv or .parquet)"
)


@dataclass(frozen=True, eq=False)
class Positives:
    """The rows of query i are ``rows[begins[i]:begins[i + 1]]``; both are empty without any."""

    begins: np.ndarray  # [Q + 1] int64
    rows: np.ndarray  # [P] int64

    @classmethod
    def none(cls) -> Positives:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))

    @classmethod
    def of(cls, lists: Iterable[Sequence[int]]) -> Positives:
        """A list of rows for each query."""
        each = [np.asarray(rows, np.int64).reshape(-1) for rows in lists]
        begins = np.cumsum([0, *map(len, each)], dtype=np.int64)
        return cls(begins, np.concatenate(each) if each else np.zeros(0, np.int64))

    def of_query(self, query: int) -> np.ndarray:
        """Its rows [p]."""
        return self.rows[self.begins[query] : self.begins[query + 1]]


def positives_of(
    given: Given,
    queries: int,
    *,
    query_store: EmbeddingStore | None = None,
    corpus_store: EmbeddingStore | None = None,
) -> Positives:
    """``given`` in one form; rows are not compared with those of a corpus yet.

    Raises:
        InvalidArgumentError: another type or shape, a key that a store has not, keys without
            stores; a file with other columns. StorageError: it cannot be read.
    """
    if given is None:
        return Positives.none()
    if isinstance(given, (str, os.PathLike)):
        given = _read(os.fspath(given))
    if isinstance(given, Mapping):
        return _of_keys(given, query_store, corpus_store)
    if hasattr(given, "to_numpy") or hasattr(given, "detach"):
        given = np.asarray(given)
    found = _of_rows(given) if isinstance(given, np.ndarray) else _of_lists(given)
    if len(found.begins) != queries + 1:
        raise InvalidArgumentError(
            f"positives are of {len(found.begins) - 1:,} queries, and there are {queries:,}; give "
            "those of each query, in their order"
        )
    return found


def _of_rows(given: np.ndarray) -> Positives:
    if given.ndim not in (1, 2) or given.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"positives are an array of shape {given.shape} and dtype {given.dtype}; {_FORMS}"
        )
    rows = given.astype(np.int64).reshape(len(given), -1)
    there = rows != -1
    return Positives(np.cumsum([0, *there.sum(axis=1)], dtype=np.int64), rows[there])


def _of_lists(given: Any) -> Positives:
    try:
        return Positives.of([rows] if isinstance(rows, int) else rows for rows in given)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(
            f"positives are of type {type(given).__name__}, and no list of row numbers for each "
            f"query ({error}); {_FORMS}"
        ) from error


def _of_keys(
    given: Mapping[Any, Any], queries: EmbeddingStore | None, corpus: EmbeddingStore | None
) -> Positives:
    """Key of a query → the key of its positive, several, or a mapping of theirs to relevances, of
    which those above 0 count."""
    if queries is None or corpus is None:
        raise InvalidArgumentError(
            "positives are a mapping of keys, which stores have and arrays have not; pass stores "
            "of queries and corpus, or row numbers"
        )
    rows = KeyIndex(corpus.keys)
    lists = []
    for key in queries.keys:
        named = given.get(key, ())
        if isinstance(named, Mapping):
            named = [one for one, relevance in named.items() if relevance > 0]
        elif isinstance(named, str):
            named = [named]
        own = []
        for one in named:
            if (row := rows.row(str(one))) is None:
                raise InvalidArgumentError(
                    f"query {key!r} has the positive {one!r}, and the corpus {corpus.path} has no "
                    f"such key; its keys are such as {', '.join(map(repr, corpus.keys[:3]))}"
                )
            own.append(row)
        if not own:
            raise InvalidArgumentError(
                f"query {key!r} has no positive; give it one, or leave that query out"
            )
        lists.append(own)
    return Positives.of(lists)


def _read(path: str) -> dict[str, dict[str, float]]:
    """Key of a query → key of a positive → its relevance, of a file in the columns of BEIR's qrels:
    ``query-id``, ``corpus-id`` and, if there is one, ``score``."""
    kind = os.path.splitext(path)[1].lower()
    with storage_errors("read", path):
        if kind == ".parquet":
            with needed("positives in Parquet need the pyarrow library", "helip[data]"):
                import pyarrow.parquet
            rows = pyarrow.parquet.read_table(path).to_pylist()
        elif kind in (".tsv", ".csv"):
            with open(path, encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file, delimiter="\t" if kind == ".tsv" else ","))
        else:
            raise InvalidArgumentError(
                f"positives are in {path!r}; a file must be .tsv, .csv or .parquet"
            )
    found: dict[str, dict[str, float]] = {}
    for number, row in enumerate(rows, start=1):
        try:
            query, positive = str(row["query-id"]), str(row["corpus-id"])
            relevance = float(row.get("score") or 1)
        except (KeyError, ValueError) as error:
            raise InvalidArgumentError(
                f"row {number} of {path} has the columns {', '.join(map(str, row))} and no number "
                f"or column {error}; a file of positives has query-id, corpus-id and, if there is "
                "one, score"
            ) from error
        found.setdefault(query, {})[positive] = relevance
    return found
