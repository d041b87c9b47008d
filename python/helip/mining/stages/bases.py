"""Bases: the table that a job brings up to date, and what changed since it was mined."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import MismatchError, UnsupportedError
from helip.common.files import read_json
from helip.mining.options import ClusterOptions, MineOptions
from helip.pairs.blocks import Pools
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

REBUILT = "rows that helip embed --update dropped or moved"


@dataclass(frozen=True, kw_only=True)
class Base:
    """A table that was mined from an earlier state of the store."""

    path: str
    checksum: str  # of its manifest
    store: str  # fingerprint of that state
    rows: int  # of that state
    deleted: int  # rows since
    replaced: int  # rows with other values since
    options: dict[str, Any]  # of the table

    @classmethod
    def of(cls, table: HardPairs, store: EmbeddingStore) -> Base:
        """What is known of a table that lies in a directory. Raises as `changed_rows`."""
        deleted, replaced = changed_rows(len(table), table.fingerprint, store, table.path)
        return cls(
            path=os.path.abspath(table.path), checksum=_checksum(table.path),
            store=table.fingerprint, rows=len(table), deleted=len(deleted),
            replaced=len(replaced), options=table.options,
        )  # fmt: skip

    def open(self) -> HardPairs:
        """The table. MismatchError where another one lies there now."""
        if _checksum(self.path) != self.checksum:
            raise MismatchError(
                f"the table {self.path} is another one than when its update was begun; put it "
                "back, or remove the folder of the stages and begin again"
            )
        return HardPairs.open(self.path)


def mined_with(table: HardPairs) -> tuple[MineOptions, ClusterOptions]:
    """The options of a table that can be updated; of one without stages the default clusters.

    UnsupportedError for others.
    """
    found = table.options
    method, skip, collapse = (found.get(name) for name in ("method", "skip", "collapse"))
    why, mend = "", "mine it again"
    if "filter" in found:
        why = "was filtered, and pairs that it lacks would come back"
        mend = "bring the table that it was made from up to date, and filter that"
    elif "verdicts" in found:
        why = "was mined under verdicts, which an update does not know"
        mend = (
            "update a table that was mined without, and filter it: pairs.filter(verdicts=…), or "
            "mine again"
        )
    elif method not in ("exact", "partition"):
        why = f"was mined with method {method!r}, and tables of 'exact' and 'partition' are updated"
    elif method == "partition" and skip:
        why = f"was mined with skip {skip}, and the pairs that were passed over are not in it"
    elif method == "partition" and collapse not in (None, "none"):
        why = f"was mined with collapse {collapse!r}, which looks for groups among all rows"
    elif found.get("modality") == "channels":
        why = "was mined by channels, and what stages and new numbers of rows need knows none"
    if why:
        raise UnsupportedError(f"the table {table.path} {why}; {mend}")
    known = {name: x for name, x in found.items() if name in MineOptions().as_dict()}
    clusters = {name: x for name, x in found.items() if name in ClusterOptions().as_dict()}
    return MineOptions(**{**known, "candidates": None}), ClusterOptions(**clusters)


def _checksum(path: str) -> str:
    return str(read_json(Path(path) / "manifest.json").get("checksum"))


def changes_of_rebuilt(table: HardPairs, store: EmbeddingStore) -> dict[str, int] | None:
    """Rows ``added``, ``deleted`` and ``replaced`` since the table was mined, where they got other
    numbers since: where `helip embed --update` dropped rows of the store or moved them.

    None where it did not.
    """
    return _rebuilt_since(len(table), table.fingerprint, store)


def _rebuilt_since(rows: int, fingerprint: str, store: EmbeddingStore) -> dict[str, int] | None:
    states = store.metadata.get("earlier", [])
    asked = {"fingerprint": fingerprint, "rows": rows}
    # The last, since a store may come back to what it was.
    since = max(
        (n for n, state in enumerate(states) if asked.items() <= state.items()), default=None
    )
    if since is None or fingerprint == store.fingerprint:
        return None
    deleted = sum(state["deleted"] for state in states[since:])
    replaced = sum(state["replaced"] for state in states[since:])
    added = len(store) - rows + deleted
    return {"added": added, "deleted": deleted, "replaced": replaced}


def changed_rows(
    rows: int, fingerprint: str, store: EmbeddingStore, table: str
) -> tuple[np.ndarray, np.ndarray]:
    """Rows that were deleted, and that got other values, since a table was mined, ascending.

    ``rows`` and ``fingerprint`` are of the store that was mined, ``table`` is for messages.
    MismatchError where the store is no later state of it.
    """
    if not fingerprint:
        raise MismatchError(
            f"the table {table} was mined from bare arrays, so nothing tells which rows they "
            "were; mine the store"
        )
    if _rebuilt_since(rows, fingerprint, store) is not None:
        raise UnsupportedError(
            f"helip embed --update dropped or moved rows since the table {table} was mined; bring "
            "it up to date with helip.update, which mines it afresh, or mine the store"
        )
    before = None if len(store) < rows else store._core.earlier_state(rows, fingerprint)
    if before is None:
        raise MismatchError(
            f"the table {table} was mined from {rows:,} rows of the store {fingerprint}, and "
            f"{store.path}, of {len(store):,} rows, never was that store; update with the store "
            "that was mined, or mine this one"
        )
    deleted = np.setdiff1d(np.asarray(store.deleted, dtype=np.int64), before[0])
    return deleted, np.setdiff1d(before[1], store.deleted)


def is_earlier(table: HardPairs, store: EmbeddingStore) -> bool:
    """Whether `update` could bring the table up to date with the store."""
    try:
        changed_rows(len(table), table.fingerprint, store, table.path)
    except (MismatchError, UnsupportedError):
        return changes_of_rebuilt(table, store) is not None
    return True


class Changes:
    """The base of a job, with the rows that changed since."""

    def __init__(self, base: Base, store: EmbeddingStore) -> None:
        self.base = base
        self.deleted, self.replaced = changed_rows(base.rows, base.store, store, base.path)
        self.outdated = np.union1d(self.deleted, self.replaced)

    @cached_property
    def table(self) -> HardPairs:
        """The table, opened when it is first asked for."""
        return self.base.open()

    def fresh(self, rows: np.ndarray) -> np.ndarray:
        """bool [n]: rows that are new, or have other values."""
        return (rows >= self.base.rows) | is_in(rows, self.replaced)

    def left(self, ids: np.ndarray) -> np.ndarray:
        """``ids`` with -1 in place of rows that are gone or have other values."""
        return np.where(is_in(ids, self.outdated), -1, ids)

    def pools(self, rows: np.ndarray) -> tuple[Pools, np.ndarray]:
        """The pools that are left of rows [n], and bool [n], whether a full one lost a pair.

        Fresh and deleted rows have none.
        """
        pools = Pools.empty(len(rows), self.table.k)
        known = ~(self.fresh(rows) | is_in(rows, self.deleted))
        for name, values in pools._asdict().items():
            values[known] = getattr(self.table, name)[rows[known]]
        left = pools.without(is_in(pools.ids, self.outdated))
        return left, (pools.counts == self.table.k) & (left.counts < self.table.k)


def is_in(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """bool, of the shape of ``values``: whether they are among ascending ``rows``."""
    if not len(rows):
        return np.zeros(values.shape, dtype=bool)
    place = np.minimum(np.searchsorted(rows, values), len(rows) - 1)
    return rows[place] == values
