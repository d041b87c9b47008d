"""Brings a table of hard pairs up to date with a store that grew, or lost rows, since."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from helip import _core
from helip.common.errors import UnsupportedError
from helip.common.files import output_path
from helip.common.options import ProgressOptions, keywords
from helip.common.progress import Follower, ProgressBar
from helip.common.remote.outputs import written_to
from helip.common.remote.urls import url_of
from helip.common.sizes import parse_bytes
from helip.mining.options import HostOptions
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore, store_of


@dataclass(frozen=True, kw_only=True)
class UpdateCall(HostOptions, ProgressOptions):
    """What `update` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """A table, or its path, that was mined exactly from an earlier state of the store."""
    store: EmbeddingStore | str | os.PathLike[str] = field(kw_only=False)
    """A later state: rows were appended to it, or deleted."""
    out: str | os.PathLike[str] | None = None
    """A new directory or URL, or that of pairs, whose table is then replaced in one step; a table
    there that is up to date already is returned. None keeps it in memory."""


@keywords(UpdateCall)
def update(call: UpdateCall) -> HardPairs:
    """The table that mining ``store`` anew would give, at a cost in proportion to what changed.

    New rows meet every row; old ones meet the new rows alone, unless a full pool of theirs lost a
    row. Ids, scores and counts are byte for byte those of :func:`helip.mine` with the options of
    ``pairs``. With ``skip`` or ``collapse``, and where more than half of the rows would meet every
    row, the store is mined afresh; ``report["update"]`` says so, and what was done.

    ``report["drops"]`` is absent from a table that was brought up to date, since what filters kept
    out of old pools was not looked at again.

    Raises:
        MismatchError: the store is no later state of the one that was mined.
        UnsupportedError: the table was not mined exactly, or under verdicts.
        InvalidArgumentError: ``out`` holds something else. StorageError: it cannot be written.
    """
    if (url := url_of(call.out)) is not None:
        return written_to(
            url, lambda path: update(**{**call.as_dict(), "out": path}), HardPairs.open,
            overwrite=url == url_of(call.pairs), progress=call.progress,
        )  # fmt: skip
    pairs = call.pairs if isinstance(call.pairs, HardPairs) else HardPairs.open(call.pairs)
    store = store_of(call.store)
    path = output_path(call.out)
    if "verdicts" in pairs.options:
        raise UnsupportedError(
            f"{pairs.path or 'the table'} was mined under verdicts, which an update does not know; "
            "update a table that was mined without, and filter it: pairs.filter(verdicts=…), or "
            "mine again"
        )
    with ProgressBar(None, label="update", unit="units", enabled=call.progress) as bar:
        core = _core.update(
            pairs._core, store._core, call.threads or 0, parse_bytes(call.memory), Follower(bar),
            path,
        )  # fmt: skip
    return HardPairs(core)
