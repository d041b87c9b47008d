"""The account of one epoch: every row that was emitted, replaced or quarantined."""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from helip.common.errors import Error
from helip.loading.readers.batch import ReadBatch

_LISTED_ROWS = 100  # quarantined rows that an account names; the others are only counted
_LEAST_ROWS = 1000  # rows over which the share of quarantined ones is counted, at the least
_PLANNED = (
    "targets", "plain_targets", "hard_pairs", "shared", "replaced", "random_fills", "unfilled",
    "equal_targets", "equal_hard_pairs",
)  # fmt: skip


def target_rows_of(stats: Mapping[str, Any]) -> dict[str, int]:
    """``target_rows`` and ``rows`` of what a loader, or a checkpoint, says; empty unless both are
    there and numbers."""
    found = {
        name: int(value)
        for name in ("target_rows", "rows")
        if isinstance(value := stats.get(name), numbers.Integral)
    }
    return found if len(found) == 2 else {}


@dataclass
class EpochCounts:
    """The account of one epoch on one rank."""

    epoch: int
    batches: int = 0
    emitted: int = 0
    targets: int = 0
    plain_targets: int = 0
    hard_pairs: int = 0
    shared: int = 0
    replaced: int = 0
    random_fills: int = 0
    unfilled: int = 0
    equal_targets: int = 0
    equal_hard_pairs: int = 0
    drawn_captions: int = 0
    skipped_batches: int = 0
    unreadable_rows: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)
    quarantined_rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, read: ReadBatch, unreadable: int) -> None:
        """unreadable: of the rows that failed, those that have no hard pair in the table either."""
        self.batches += 1
        self.unreadable_rows += unreadable
        self.drawn_captions += read.drawn
        self.emitted += 0 if read.batch is None else len(read.batch["index"])
        for name in _PLANNED:
            setattr(self, name, getattr(self, name) + int(read.planned.get(name, 0)))
        reasons = Counter(self.quarantined)
        reasons.update(failure["reason"] for failure in read.failures)
        self.quarantined = dict(reasons)
        free = _LISTED_ROWS - len(self.quarantined_rows)
        self.quarantined_rows.extend(read.failures[: max(free, 0)])

    def checked(
        self, read: ReadBatch, *, most: float, epoch_rows: int | None, skips: bool
    ) -> dict[str, Any] | None:
        """The batch that was read, unless too many rows have failed by now; None for one to skip.

        most: the share that may fail, of all rows but the unreadable ones. epoch_rows: rows of a
            whole epoch while there are more batches to come, since few rows say little; None for
            the last batch. skips: whether a batch that is empty may be skipped.
        """
        failed = sum(self.quarantined.values())
        total = self.emitted + failed
        counted = total - self.unreadable_rows
        if epoch_rows is not None:
            counted = max(counted, min(_LEAST_ROWS, epoch_rows))
        empty = read.batch is None and not skips
        if not empty and failed - self.unreadable_rows <= most * counted:
            self.skipped_batches += read.batch is None
            return read.batch
        reasons = ", ".join(f"{reason}: {n}" for reason, n in sorted(self.quarantined.items()))
        first = self.quarantined_rows[0]
        account = (
            f"{failed} of {total} rows of epoch {self.epoch} could not be read ({reasons}); the "
            f"first was row {first['row']}, key {first['key']!r}: {first['message']}"
        )
        if self.unreadable_rows:
            account += (
                f"; {self.unreadable_rows} of them have no hard pair in the table, and do not "
                "count against max_quarantined"
            )
        if empty:
            raise Error(
                f"no row of batch {read.step} could be read, and a batch must not be empty: "
                f"{account}. Mend the data, raise batch_size, or leave out the rows without a hard "
                'pair: short="skip"'
            )
        raise Error(
            f"max_quarantined = {most:g} is exceeded: {account}. Mend the data, or raise "
            "max_quarantined to train without these rows"
        )
