"""Bases: the table that a job brings up to date, and what changed since it was mined."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import MismatchError, UnsupportedError
from helip.common.files import read_json
from helip.mining.options import ClusterOptions, MineOptions, StageOptions
from helip.mining.stages.unit_files import open_unit_file
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
    options: dict[str, Any]  # of the table

    @classmethod
    def of(cls, table: HardPairs) -> Base:
        """What is known of a table that lies in a directory."""
        return cls(
            path=table.path, checksum=_checksum(table.path), store=table.fingerprint,
            rows=len(table), options=table.options,
        )  # fmt: skip

    @property
    def mined_with(self) -> MineOptions:
        """The options of the table, as a job in stages takes them.

        UnsupportedError for a table whose pools are no basis for others.
        """
        method, again = self.options.get("method"), "; mine it again"
        if "filter" in self.options:
            raise UnsupportedError(
                f"the table {self.path} was filtered, and pairs that it lacks would come back; "
                "bring the table that it was made from up to date, and filter that"
            )
        if "verdicts" in self.options:
            raise UnsupportedError(
                f"the table {self.path} was mined under verdicts, which an update does not know; "
                "update a table that was mined without, and filter it: pairs.filter(verdicts=…), "
                "or mine again"
            )
        if method != "partition":
            raise UnsupportedError(
                f"the table {self.path} was mined with method {method!r}, must be 'partition' for "
                f"an update in stages{again}"
            )
        if self.options.get("skip"):
            raise UnsupportedError(
                f"the table {self.path} was mined with skip {self.options['skip']}, and the pairs "
                f"that were passed over are not in it{again}"
            )
        if self.options.get("collapse", "none") != "none":
            raise UnsupportedError(
                f"the table {self.path} was mined with collapse {self.options['collapse']!r}, "
                f"which looks for groups among all rows{again}"
            )
        known = {n: x for n, x in self.options.items() if n in MineOptions().as_dict()}
        return MineOptions(**{**known, "candidates": None})

    @property
    def mined_in(self) -> StageOptions:
        """The clusters of the table; of one without stages the default."""
        overlap = self.options.get("overlap", StageOptions().overlap)
        return StageOptions(cluster_rows=self.options.get("cluster_rows"), overlap=overlap)

    def open(self) -> HardPairs:
        """The table. MismatchError where another one lies there now."""
        if _checksum(self.path) != self.checksum:
            raise MismatchError(
                f"the table {self.path} is another one than when its update was begun; put it "
                "back, or remove the folder of the stages and begin again"
            )
        return HardPairs.open(self.path)


def mined_with(table: HardPairs) -> tuple[MineOptions, ClusterOptions]:
    """The options of a table that can be updated.

    UnsupportedError for others.
    """
    method = table.options.get("method")
    if method == "partition":
        base = Base.of(table)
        return base.mined_with, ClusterOptions.of(base.mined_in)
    unfit = next((name for name in ("filter", "verdicts") if name in table.options), None)
    if method != "exact" or unfit is not None:
        why = f"was mined with method {method!r}" if unfit is None else f"has {unfit}"
        raise UnsupportedError(
            f"the table {table.path} {why}, and tables that were mined with method 'exact' or "
            "'partition' alone are brought up to date; plan to mine it again"
        )
    known = {name: x for name, x in table.options.items() if name in MineOptions().as_dict()}
    return MineOptions(**{**known, "candidates": None}), ClusterOptions()


def _checksum(path: str) -> str:
    return str(read_json(Path(path) / "manifest.json").get("checksum"))


def changes_of_rebuilt(table: HardPairs, store: EmbeddingStore) -> dict[str, int] | None:
    """Rows ``added``, ``deleted`` and ``replaced`` since the table was mined, where they got other
    numbers since: where `helip embed --update` dropped rows of the store or moved them.

    None where it did not.
    """
    states = store.metadata.get("earlier", [])
    asked = {"fingerprint": table.fingerprint, "rows": len(table)}
    # The last, since a store may come back to what it was.
    since = max(
        (n for n, state in enumerate(states) if asked.items() <= state.items()), default=None
    )
    if since is None or table.fingerprint == store.fingerprint:
        return None
    deleted = sum(state["deleted"] for state in states[since:])
    replaced = sum(state["replaced"] for state in states[since:])
    added = len(store) - len(table) + deleted
    return {"added": added, "deleted": deleted, "replaced": replaced}


def changed_rows(table: HardPairs, store: EmbeddingStore) -> tuple[np.ndarray, np.ndarray]:
    """Rows that were deleted, and that got other values, since the table was mined, ascending.

    MismatchError where the store is no later state of the one that was mined.
    """
    rows = len(table)
    if not table.fingerprint:
        raise MismatchError(
            f"the table {table.path} was mined from bare arrays, so nothing tells which rows they "
            "were; mine the store"
        )
    if changes_of_rebuilt(table, store) is not None:
        raise UnsupportedError(
            f"helip embed --update dropped or moved rows since the table {table.path} was mined; "
            "bring it up to date with helip.update, which mines it afresh, or "
            "mine the store"
        )
    before = None if len(store) < rows else store._core.earlier_state(rows, table.fingerprint)
    if before is None:
        raise MismatchError(
            f"the table {table.path} was mined from {rows:,} rows of the store "
            f"{table.fingerprint}, and {store.path}, of {len(store):,} rows, never was that store; "
            "update with the store that was mined, or mine this one"
        )
    deleted = np.setdiff1d(np.asarray(store.deleted, dtype=np.int64), before[0])
    return deleted, np.setdiff1d(before[1], store.deleted)


def is_earlier(table: HardPairs, store: EmbeddingStore) -> bool:
    """Whether `update` could bring the table up to date with the store."""
    try:
        changed_rows(table, store)
    except (MismatchError, UnsupportedError):
        return changes_of_rebuilt(table, store) is not None
    return True


class Changes:
    """The base of a job, with the rows that changed since."""

    def __init__(self, base: Base, path: Path, job: str) -> None:
        file = open_unit_file(path, job=job)
        self.base = base
        self.deleted = np.array(file["deleted"])
        self.replaced = np.array(file["replaced"])
        self.outdated = np.sort(np.concatenate([self.deleted, self.replaced]))
        self._table: HardPairs | None = None

    @property
    def table(self) -> HardPairs:
        """The table, opened when it is first asked for."""
        if self._table is None:
            self._table = self.base.open()
        return self._table

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
