"""Updates as a plan takes them: what changed since a table was mined, and what that costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from helip.common.errors import UnsupportedError
from helip.mining.options import ClusterOptions, MineOptions
from helip.mining.recall import sample_size
from helip.mining.stages import unit_costs as costs
from helip.mining.stages.bases import Base, changed_rows, changes_of_rebuilt, is_in
from helip.mining.stages.certificates import (
    certificate_path,
    read_certificate,
    still_exact,
    tag_of,
)
from helip.mining.stages.stage_plans import Changed
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

_SAMPLE = 65_536  # targets of a table whose pools are looked at


@dataclass(frozen=True, kw_only=True)
class PlannedUpdate:
    """What an update meets."""

    rows: int  # now, with those that were deleted
    added: int
    deleted: int  # since the table was mined
    replaced: int
    gone: int  # deleted at any time
    lost: float  # share of old rows whose full pool lost a pair
    certified_before: int  # targets of the sample whose exact pools are kept
    rebuilt: bool = False  # rows of the store have other numbers

    @property
    def fresh(self) -> int:
        """Rows that are new or have other values."""
        return self.added + self.replaced

    @property
    def short(self) -> int:
        """Old rows whose full pool lost a pair."""
        return round(self.lost * max(self.rows - self.fresh - self.gone, 0))

    @property
    def changed(self) -> Changed:
        """As a plan of stages takes it."""
        return Changed(
            fresh=self.fresh, gone=self.gone, short=self.short, known=self.certified_before
        )

    def as_report(self) -> dict[str, Any]:
        """The names of a table's report of its update, ``lost`` and ``rebuilt``."""
        every = asdict(self)
        names = ("added", "deleted", "replaced", "certified_before", "lost", "rebuilt")
        return {name: every[name] for name in names}


def assumed_update(
    rows: int, added: int, deleted: int, *, kept: int, recall: float, method: str
) -> PlannedUpdate:
    """Of rows that are not there yet.

    Rows are deleted at random, pools of ``kept`` pairs are full, and each row is as often in one as
    any other. Exact pools of as many sampled targets as ``recall`` asks for are kept.
    """
    before = rows - added
    there = 1 - deleted / before
    lost = 1 - there**kept
    targets = sample_size(rows, recall)
    known = round(targets * before / rows * there * (1 - lost)) if method == "partition" else 0
    return PlannedUpdate(
        rows=rows, added=added, deleted=deleted, replaced=0, gone=deleted, lost=lost,
        certified_before=known,
    )  # fmt: skip


def found_update(table: HardPairs, store: EmbeddingStore) -> PlannedUpdate:
    """Of a table and a later state of its store; pools that lost a pair are counted in a sample.

    MismatchError where the store is no later state of the one that was mined.
    """
    if (changes := changes_of_rebuilt(table, store)) is not None:
        return PlannedUpdate(
            rows=len(store), gone=changes["deleted"], lost=0.0, certified_before=0, rebuilt=True,
            **changes,
        )  # fmt: skip
    deleted, replaced = changed_rows(table, store)
    outdated = np.union1d(deleted, replaced)
    rows = np.arange(len(table))
    if len(rows) > _SAMPLE:
        rows = np.sort(np.random.default_rng(0).choice(len(table), _SAMPLE, replace=False))
    rows = rows[~is_in(rows, outdated)]
    full = table.counts[rows] == table.k
    lost = full & is_in(table.ids[rows], outdated).any(axis=1)
    known = 0
    if table.options["method"] == "partition":
        options = Base.of(table).mined_with
        place, tag = certificate_path(table.path), tag_of(table.fingerprint, options)
        if (kept := read_certificate(place, tag)) is not None:
            wanted = sample_size(len(store), options.recall) * len(table) // len(store)
            known = min(len(still_exact(*kept, outdated)[0]), wanted)
    return PlannedUpdate(
        rows=len(store), added=len(store) - len(table), deleted=len(deleted),
        replaced=len(replaced), gone=len(store.deleted),
        lost=float(lost.mean()) if len(rows) else 0.0, certified_before=known,
    )  # fmt: skip


def mined_with(table: HardPairs) -> tuple[MineOptions, ClusterOptions]:
    """The options of a table that can be updated.

    UnsupportedError for others.
    """
    method = table.options.get("method")
    if method == "partition":
        base = Base.of(table)
        return base.mined_with, base.mined_in
    unfit = next((name for name in ("filter", "verdicts") if name in table.options), None)
    if method != "exact" or unfit is not None:
        why = f"was mined with method {method!r}" if unfit is None else f"has {unfit}"
        raise UnsupportedError(
            f"the table {table.path} {why}, and tables that were mined with method 'exact' or "
            "'partition' alone are brought up to date; plan to mine it again"
        )
    known = {name: x for name, x in table.options.items() if name in MineOptions().as_dict()}
    return MineOptions(**{**known, "candidates": None}), ClusterOptions()


def why_afresh(update: PlannedUpdate, options: MineOptions) -> str:
    """Why a table of exact mining would be mined afresh; empty where it would not."""
    if options.skip or options.collapse != "none":
        return "skip" if options.skip else "collapse"
    return "" if 2 * (update.fresh + update.short) <= update.rows else "most rows meet every row"


def exact_seconds(update: PlannedUpdate, dimensions: int) -> float:
    """CPU seconds of the update of a table of exact mining."""
    join = update.fresh + update.short
    each = costs.JOINED_ROW + costs.JOINED_PAIR * update.rows
    return (costs.OLD_ROW * update.rows + each * join) * dimensions / costs.DIMENSIONS


def exact_pairs(update: PlannedUpdate) -> int:
    """Unordered pairs that it holds against its filters."""
    join = update.fresh + update.short
    return join * (update.rows - join) + join * (join - 1) // 2
