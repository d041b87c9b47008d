"""Brings a table of hard pairs up to date with a store that grew, or lost rows, since."""

from __future__ import annotations

import json
import os
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.files import discard_directory, output_path, storage_errors
from helip.common.options import ProgressOptions, keywords
from helip.common.progress import Follower, ProgressBar
from helip.common.quantities import parse_bytes
from helip.common.remote.outputs import written_to
from helip.common.remote.urls import url_of
from helip.mining.engines.stages import why_not_codes
from helip.mining.miner import mine
from helip.mining.options import CodesOptions, EngineOptions, HostOptions, JobOptions, KeepOptions
from helip.mining.report_words import shortfall_words
from helip.mining.stages.bases import REBUILT, changes_of_rebuilt, mined_with
from helip.mining.stages.job import begin_update, remove_stages
from helip.pairs.hard_pairs import HardPairs
from helip.store.data_identity import short
from helip.store.embedding_store import EmbeddingStore, store_of


@dataclass(frozen=True, kw_only=True)
class UpdateCall(HostOptions, EngineOptions, KeepOptions, CodesOptions, ProgressOptions):
    """What `update` is asked."""

    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """A table, or its path, that was mined exactly or by partition from an earlier state of the
    store."""
    store: EmbeddingStore | str | os.PathLike[str] = field(kw_only=False)
    """A later state: rows were appended to it or deleted, or `embed` with update went over it."""
    out: str | os.PathLike[str] | None = None
    """A new directory or URL, or that of pairs, whose table is then replaced in one step; a table
    there that is up to date already is returned. None keeps it in memory."""


@keywords(UpdateCall)
def update(call: UpdateCall) -> HardPairs:
    """The table that mining ``store`` anew would give, at a cost in proportion to what changed.

    Of a table that was mined exactly: new rows meet every row; old ones meet the new rows alone,
    unless a full pool of theirs lost a row. Ids, scores and counts are byte for byte those of
    :func:`helip.mine` with the options of ``pairs``. With ``skip`` or ``collapse``, and where more
    than half of the rows would meet every row, the store is mined afresh; ``report["update"]`` says
    so, and what was done. With ``codes`` of any earlier state of the store, as :func:`helip.mine`
    kept them or an update, only the rows since are encoded; once these are more than an eighth of
    all, the codes of all are kept there.

    Where :func:`embed` with ``update`` dropped rows of the store, or moved them, all rows have new
    numbers: the store is mined afresh with the options of ``pairs``, whose table must be of the
    store right before that or before an earlier such update.

    Of a table of method ``partition``, in stages or not: the new rows are mined in the clusters
    where they fall, by ``engine``, as :func:`helip.mine` does in stages, and the recall is measured
    anew. It is a table of the recall that was asked for, not that of a fresh run. It needs ``out``,
    and goes on where it was stopped.

    ``report["drops"]`` is absent from a table that was brought up to date, since what filters kept
    out of old pools was not looked at again.

    Raises:
        MismatchError: the store is no later state of the one that was mined.
        UnsupportedError: the table was mined otherwise, or under verdicts; of one by partition,
            with skip or collapse.
        InvalidArgumentError: ``out`` holds something else. StorageError: it cannot be written.
    """
    pairs = call.pairs._whole() if isinstance(call.pairs, HardPairs) else HardPairs.open(call.pairs)
    staged = pairs.options.get("method") == "partition"
    if (url := url_of(call.out)) is not None:
        return written_to(
            url, lambda path: update(**{**call.as_dict(), "out": path}), HardPairs.open,
            resumes=staged, overwrite=url == url_of(call.pairs), progress=call.progress,
        )  # fmt: skip
    store = store_of(call.store)
    path = output_path(call.out)
    if (changes := changes_of_rebuilt(pairs, store)) is not None:
        return _afresh(call, pairs, store, path, changes)
    if staged:
        return _in_stages(call, pairs, store, path)
    if call.engine != "threads":
        raise InvalidArgumentError(
            f"engine is {call.engine!r}, and the table was mined with method "
            f"{pairs.options.get('method')!r}; only tables of method 'partition' are updated by "
            "units that an engine runs, drop engine="
        )
    with ProgressBar(None, label="update", unit="units", enabled=call.progress) as bar:
        core = _core.update(
            pairs._core, store._core, call.threads or 0, parse_bytes(call.memory), Follower(bar),
            path, call.codes_path, call.keep_codes,
        )  # fmt: skip
    return HardPairs(core)


def _there(path: str, pairs: HardPairs, store: EmbeddingStore) -> HardPairs | None:
    """The table at ``path``, if any: before the update or after it.

    InvalidArgumentError where it is another.
    """
    if not os.path.exists(os.path.join(path, "manifest.json")):
        return None
    there = HardPairs.open(path)
    if there.options != pairs.options or there.fingerprint not in (
        pairs.fingerprint, store.fingerprint,
    ):  # fmt: skip
        raise InvalidArgumentError(
            f"{path} holds another table than the one to bring up to date; choose a new directory"
        )
    return there


def _place_of(path: str, store: EmbeddingStore) -> str:
    """Where the store is mined for the table at ``path``; what an earlier state left there goes."""
    table = Path(os.path.abspath(path))
    place = f"{table.name}.update-{short(store.fingerprint)}"
    made = re.compile(rf"{re.escape(table.name)}\.update-[0-9a-f]{{12}}(\.[a-z]+)?")
    with storage_errors("read", table.parent):
        beside = [each.name for each in table.parent.iterdir()] if table.parent.exists() else []
    for name in beside:
        if made.fullmatch(name) and not name.startswith(place):
            discard_directory(table.parent / name)
    return os.fspath(table.parent / place)


def _afresh(
    call: UpdateCall, pairs: HardPairs, store: EmbeddingStore, path: str, changes: dict[str, int]
) -> HardPairs:
    """Mines the store, whose rows have other numbers than those of the table, as it was mined."""
    options, clusters = mined_with(pairs)
    there = _there(path, pairs, store) if path else None
    if there is not None and there.fingerprint == store.fingerprint:
        return there
    place = _place_of(path, store) if path else None
    mined = mine(
        store, out=place, device="cpu", **options.as_dict(), **clusters.as_dict(),
        threads=call.threads, memory=call.memory, engine=call.engine, codes=call.codes,
        keep_codes=call.keep_codes, progress=call.progress,
    )  # fmt: skip
    did = {"from": pairs.fingerprint, **changes, "afresh": REBUILT}
    writer = _core.HardPairsWriter(path, len(mined), mined.k, replace=there is not None)
    for first, pools in mined.blocks():
        writer.write(first, *pools)
    table = writer.finish(
        fingerprint=mined.fingerprint, data_fingerprint=mined.data_fingerprint,
        options_json=json.dumps(mined.options),
        report_json=json.dumps({**mined.report, "update": did}),
    )  # fmt: skip
    if place is not None:
        del mined  # before its files go
        discard_directory(Path(place))
    return HardPairs(table)


def _in_stages(call: UpdateCall, pairs: HardPairs, store: EmbeddingStore, path: str) -> HardPairs:
    from helip.mining.stages.running import run_job

    if (reason := why_not_codes(call.codes)) is not None:
        raise reason
    if not path or not pairs.path:
        what = "out is None" if pairs.path else "the table is in memory"
        raise InvalidArgumentError(
            f"{what}, and a table of method 'partition' is updated by files beside out; save the "
            "table, and give out"
        )
    if (there := _there(path, pairs, store)) is not None and there.fingerprint == store.fingerprint:
        if not call.keep_stages:
            remove_stages(path)
        return there
    if pairs.fingerprint == store.fingerprint:
        pairs.save(path)
        return HardPairs.open(path)
    table = run_job(
        begin_update(pairs, store, path, call.memory), store,
        JobOptions(threads=call.threads, memory=call.memory, engine=call.engine),
        keep_stages=call.keep_stages, progress=call.progress,
    )  # fmt: skip
    if words := shortfall_words(table.report, pairs.options["recall"]):
        warnings.warn(words, stacklevel=4)
    return table
