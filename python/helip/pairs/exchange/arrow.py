"""A table of hard pairs in Arrow, and what is made of that: pandas, Polars, Parquet.

docs/pairs-out.md lists the columns. Rows are made by whole arrays, block by block, so that a file
of any size takes bounded memory. The keys of a store alone are all held, since any row may be hard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import needed
from helip.common.files import publish_file
from helip.pairs.cosines import TableCosines
from helip.pairs.options import Layout
from helip.store.embedding_store import EmbeddingStore

_CHUNK_PAIRS = 1 << 22  # of a chunk of a table in memory
_GROUP_PAIRS = 1 << 20  # of a row group of Parquet
_KEYS = 1 << 16  # strings that are held at a time
#: Columns of the long layout with values that repeat: the others only cost time in a dictionary.
_REPEATED = ["target", "rank", "target_key"]


class ArrowExport:
    """A table as Arrow record batches of about ``chunk`` pairs.

    Args:
        store: the store that was mined, which adds keys and similarities; None without.
        similarities: whether to compute them.
        encoded: whether keys of the long layout are dictionary arrays: row numbers over the keys
            of the store, in place of a text for each pair.

    Raises:
        UnsupportedError: pyarrow is absent.
    """

    def __init__(
        self,
        table: _core.HardPairs,
        store: EmbeddingStore | None,
        layout: Layout,
        *,
        similarities: bool = True,
        encoded: bool = False,
        chunk: int = _CHUNK_PAIRS,
    ) -> None:
        with needed("Arrow and Parquet need the pyarrow library", "helip[data]"):
            import pyarrow
        self._arrow: Any = pyarrow
        self._ids, self._scores, self._counts = table.ids, table.scores, table.counts
        self._k, self._nested, self._chunk = table.k, layout == "nested", chunk
        self._encoded = encoded and not self._nested
        self._cosines = TableCosines(store) if store is not None and similarities else None
        self._keys: Any = None if store is None else self._all_keys(store)
        about = {
            "fingerprint": table.fingerprint,
            "data_fingerprint": table.data_fingerprint,
            "options": json.loads(table.options_json),
        }
        self._about = {"helip.hard_pairs": json.dumps(about)}

    @property
    def schema(self) -> Any:
        """Columns and types, and as metadata ``helip.hard_pairs`` what the table was made of."""
        return self._batch(0, 0).schema

    def batches(self) -> Iterator[Any]:
        """The record batches, in the order of targets and ranks."""
        step = max(1, self._chunk // max(self._k, 1))
        for first in range(0, len(self._ids), step):
            yield self._batch(first, first + step)

    def table(self) -> Any:
        """All of it, a ``pyarrow.Table``."""
        return self._arrow.Table.from_batches(self.batches(), schema=self.schema)

    def _batch(self, first: int, last: int) -> Any:
        arrow = self._arrow
        ids, scores = self._ids[first:last], self._scores[first:last]
        counts = self._counts[first:last]
        valid = None if (counts == self._k).all() else np.arange(self._k) < counts[:, None]

        def flat(values: np.ndarray) -> np.ndarray:  # [b, k] to [pairs]: where all count, a view
            return values.reshape(-1) if valid is None else values[valid]

        def listed(array: Any) -> Any:
            if not self._nested:
                return array
            offsets = np.zeros(len(counts) + 1, dtype=np.int32)
            np.cumsum(counts, out=offsets[1:])
            return arrow.ListArray.from_arrays(arrow.array(offsets), array)

        targets = np.arange(first, first + len(ids), dtype=ids.dtype)
        target = arrow.array(targets if self._nested else np.repeat(targets, counts))
        hard = arrow.array(flat(ids))
        columns = {"target": target}
        if not self._nested:
            ranks = np.arange(1, self._k + 1, dtype=np.int32)
            columns["rank"] = arrow.array(flat(np.broadcast_to(ranks, ids.shape)))
        columns |= {"hard": listed(hard), "score": listed(arrow.array(flat(scores)))}
        if self._keys is not None:
            columns |= {"target_key": self._named(target), "hard_key": listed(self._named(hard))}
        if self._cosines is not None:
            for side, cosines in zip(("image", "text"), self._cosines.of(first, ids), strict=True):
                found = flat(cosines)
                known = arrow.array(found, mask=np.isnan(found))
                columns[f"{side}_similarity"] = listed(known)
        return arrow.record_batch(columns).replace_schema_metadata(self._about)

    def _named(self, rows: Any) -> Any:
        if self._encoded:
            return self._arrow.DictionaryArray.from_arrays(rows, self._keys)
        return self._keys.take(rows)

    def _all_keys(self, store: EmbeddingStore) -> Any:
        """Keys of all rows, which are held twice while their parts are joined."""
        arrow, keys = self._arrow, store.keys
        parts = [arrow.array([], type=arrow.large_string())]
        for first in range(0, len(keys), _KEYS):
            parts.append(arrow.array(keys[first : first + _KEYS], type=arrow.large_string()))
        return arrow.concat_arrays(parts)


def write_parquet(
    table: _core.HardPairs,
    store: EmbeddingStore | None,
    path: Path,
    layout: Layout,
    *,
    similarities: bool,
    overwrite: bool,
) -> None:
    """Write a Parquet file with a row group for each 2^20 pairs; see `HardPairs.to_parquet`."""
    with publish_file(path, overwrite=overwrite) as temporary:
        export = ArrowExport(table, store, layout, similarities=similarities, chunk=_GROUP_PAIRS)
        from pyarrow import parquet

        schema = export.schema
        encoded = [name for name in _REPEATED if name in schema.names and layout == "long"]
        with parquet.ParquetWriter(temporary, schema, use_dictionary=encoded) as writer:
            for batch in export.batches():
                writer.write_batch(batch, row_group_size=max(batch.num_rows, 1))
