"""Brings a table of hard pairs up to date with a store that grew, or lost rows, since."""

from __future__ import annotations

import os

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.progress import Follower, ProgressBar
from helip.mining.miner import parse_bytes
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

__all__ = ["update"]


def update(
    pairs: HardPairs | str | os.PathLike[str],
    store: EmbeddingStore | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    memory: int | str | None = None,
    progress: bool = True,
) -> HardPairs:
    """The table that mining ``store`` anew would give, at a cost in proportion to what changed.

    New rows meet every row; old ones meet the new rows alone, unless a full pool of theirs lost a
    row. Ids, scores and counts are byte for byte those of :func:`helip.mine` with the options of
    ``pairs``. With ``skip`` or ``collapse``, and where more than half of the rows would meet every
    row, the store is mined afresh; ``report["update"]`` says so, and what was done.

    ``report["drops"]`` is absent from a table that was brought up to date, since what filters kept
    out of old pools was not looked at again.

    Args:
        pairs: a table, or its path, that was mined exactly from an earlier state of ``store``.
        store: a later state: rows were appended to it, or deleted.
        out: a new directory, or that of ``pairs``, whose table is then replaced in one step; a
            table there that is up to date already is returned. None: kept in memory.
        threads: 0 or None for all cores.
        memory: bound of the buffers in bytes or as ``"4GB"``; None for a quarter of the machine's.
        progress: a bar on a terminal.

    Raises:
        MismatchError: the store is no later state of the one that was mined.
        UnsupportedError: the table was not mined exactly.
        InvalidArgumentError: ``out`` holds something else. StorageError: it cannot be written.
    """
    if not isinstance(pairs, HardPairs):
        pairs = HardPairs.open(pairs)
    if not isinstance(store, EmbeddingStore):
        store = EmbeddingStore.open(store)
    if threads is not None and threads < 0:
        raise InvalidArgumentError(f"threads is {threads}; use 0 for all cores, or a number")
    path = "" if out is None else os.fspath(out)
    with ProgressBar(None, label="update", unit="units", enabled=progress) as bar:
        core = _core.update(
            pairs._core, store._core, threads or 0, parse_bytes(memory), Follower(bar), path
        )
    return HardPairs(core)
