"""Positives of queries: the rows of a corpus that belong to each, in the forms that people have."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError, needed
from helip.common.files import storage_errors
from helip.common.remote.urls import shown, url_of
from helip.store.embedding_store import EmbeddingStore
from helip.store.keys import KeyIndex
from helip.store.matrices import matrix_of

#: What `positives_of` takes: see `helip.mine`.
Given = Any
_FORMS = (
    "pass [Q] or [Q, p] row numbers of the corpus (-1 for none), a list of rows for each query, a "
    "mapping of keys of both stores, or a file (.npy of rows; .tsv, .csv or .parquet of keys)"
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
    def of(cls, lists: Iterable[Sequence[int] | np.ndarray]) -> Positives:
        """A list of rows for each query; -1 is none."""
        each = [_rows(rows, f"query {query}") for query, rows in enumerate(lists)]
        begins = np.cumsum([0, *map(len, each)], dtype=np.int64)
        return cls(begins, np.concatenate(each) if each else np.zeros(0, np.int64))

    def of_query(self, query: int) -> np.ndarray:
        """Its rows [p]."""
        return self.rows[self.begins[query] : self.begins[query + 1]]

    def views(self) -> tuple[_core.MatrixView, _core.MatrixView]:
        """``begins`` and ``rows`` as the core takes them."""
        begins, rows = (
            matrix_of(np.ascontiguousarray(each), name="positives", one_dimensional=True)
            for each in (self.begins, self.rows)
        )
        return begins, rows

    @property
    def digest(self) -> str:
        """That a table has of the positives that it was mined with."""
        return _core.positives_digest(*self.views())


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
        given = _read(given)
    if isinstance(given, Mapping):
        return _of_keys(given, query_store, corpus_store)
    if hasattr(given, "detach"):
        given = given.detach().cpu().numpy()
    elif hasattr(given, "to_numpy"):  # pandas, Arrow
        lists = given.to_pylist() if hasattr(given, "to_pylist") else given.to_list()
        given = lists if any(hasattr(rows, "__len__") for rows in lists[:1]) else given.to_numpy()
    if isinstance(given, np.ndarray) and given.dtype != object:
        found = _of_array(given)
    else:
        found = _of_lists(given)
    if len(found.begins) != queries + 1:
        raise InvalidArgumentError(
            f"positives are of {len(found.begins) - 1:,} queries, and there are {queries:,}; give "
            "those of each query, in their order"
        )
    return found


def _rows(given: Any, whose: str) -> np.ndarray:
    """[p] int64 without -1; InvalidArgumentError for what are no row numbers."""
    rows = np.asarray(given)
    if rows.size == 0:
        return np.zeros(0, np.int64)
    if rows.ndim > 1 or rows.dtype.kind not in "iu" or int(rows.max()) >= 2**63:
        raise InvalidArgumentError(
            f"the positives of {whose} are {given!r}, which are no list of row numbers; {_FORMS}"
        )
    rows = rows.astype(np.int64).reshape(-1)
    return rows[rows != -1]


def _of_array(given: np.ndarray) -> Positives:
    if given.ndim not in (1, 2) or given.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"positives are an array of shape {given.shape} and dtype {given.dtype}; {_FORMS}"
        )
    if given.size and int(given.max()) >= 2**63:
        raise InvalidArgumentError(f"positives have the row {given.max()}; no corpus is so large")
    rows = given.astype(np.int64).reshape(len(given), -1)
    there = rows != -1
    return Positives(np.cumsum([0, *there.sum(axis=1)], dtype=np.int64), rows[there])


def _of_lists(given: Any) -> Positives:
    try:
        lists = list(given)
        return Positives.of(lists)
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, InvalidArgumentError):
            raise
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
            "positives are by keys, which stores have and arrays have not; give the stores of "
            "queries and corpus, or row numbers"
        )
    rows = KeyIndex(corpus.keys)
    lists = []
    for key in queries.keys:
        own = []
        for one in _named(key, given.get(key, ())):
            if (row := rows.row(one)) is None:
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


def _named(query: str, given: Any) -> list[str]:
    """The keys of a query's positives."""
    if isinstance(given, Mapping):
        given = [key for key, value in given.items() if _relevance(value, f"query {query!r}") > 0]
    elif isinstance(given, str):
        given = [given]
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise InvalidArgumentError(
            f"query {query!r} has the positives {given!r}; give a key, a list of keys, or a "
            "mapping of keys to relevances"
        )
    return [str(key) for key in given]


def _relevance(given: Any, where: str) -> float:
    """1 where none is given."""
    try:
        relevance = 1.0 if given is None or given == "" else float(given)
    except (TypeError, ValueError):
        relevance = math.nan
    if math.isnan(relevance):
        raise InvalidArgumentError(f"{where} has the score {given!r}; give a number, or none")
    return relevance


def _read(path: str | os.PathLike[str]) -> Any:
    """An array of rows; or key of a query → key of a positive → its relevance, of a file in the
    columns of BEIR's qrels: ``query-id``, ``corpus-id`` and, if there is one, ``score``."""
    if url_of(path) is not None:
        raise InvalidArgumentError(
            f"positives are at {shown(path)}; a file of them is read from a disk: copy it here"
        )
    path = os.fspath(path)
    kind = os.path.splitext(path)[1].lower()
    if kind not in (".npy", ".tsv", ".csv", ".parquet"):
        raise InvalidArgumentError(
            f"positives are in {path!r}; a file must be .npy, .tsv, .csv or .parquet"
        )
    if kind == ".parquet":
        with needed("positives in Parquet need the pyarrow library", "helip[data]"):
            import pyarrow.parquet
    with storage_errors("read", path):
        try:
            if kind == ".npy":
                return np.load(path, allow_pickle=False)
            if kind == ".parquet":
                rows = pyarrow.parquet.read_table(path).to_pylist()
            else:
                rows = _lines(path, kind)
        except ValueError as error:  # UnicodeDecodeError, ArrowInvalid
            raise InvalidArgumentError(f"{path} is no {kind} file that can be read: {error}") from (
                error
            )
    found: dict[str, dict[str, float]] = {}
    for number, row in enumerate(rows, start=1):
        ids = [row.get("query-id"), row.get("corpus-id")]
        if None in ids:
            raise InvalidArgumentError(
                f"row {number} of {path} has the columns {', '.join(map(str, row))}, and not both "
                "of query-id and corpus-id; a file of positives has these and, if there is one, "
                "score"
            )
        relevance = _relevance(row.get("score"), f"row {number} of {path}")
        found.setdefault(str(ids[0]), {})[str(ids[1])] = relevance
    if not found:
        raise InvalidArgumentError(f"{path} has no row; give the positives of each query")
    return found


def _lines(path: str, kind: str) -> list[dict[str, Any]]:
    plain: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, **(plain if kind == ".tsv" else {})))
