"""The parts of a job become one store, in one step; also those of processes of torchrun."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helip import _core
from helip.common.errors import Error, MismatchError
from helip.common.files import DirectoryLock, discard_directory
from helip.common.machine import core_threads
from helip.common.parts import part_path, parts_folder
from helip.common.processes import Processes, join_processes
from helip.encoders.jobs.parts import Range, begin_parts, embed_part, part_request
from helip.encoders.jobs.request import (
    SIDES,
    Kept,
    Work,
    engine_in,
    listed_entries,
    open_existing,
)
from helip.encoders.quarantine import entries_of, stage_list, take_staged_list
from helip.encoders.registry import ImageEncoder, TextEncoder
from helip.store.data_identity import DataChange, runs_of
from helip.store.embedding_store import EmbeddingStore


def embed_by_processes(
    work: Work,
    kept: Kept | None,
    load: Callable[[torch.device], tuple[ImageEncoder, TextEncoder]],
) -> None:
    """Embed the part of this process of torchrun, wait for the others; the first joins all.

    They share the file system of ``out``, and exchange nothing but that they are done. Where one
    fails, it says why, and the others get an Error; what each has committed stays.
    """
    with join_processes(work.call.device) as device:
        own = Processes()
        part = (own.rank + 1, own.count)
        try:
            own.meet()  # before they take as long as they do
            embed_part(work, part, lambda: load(device), bar=own.leads, threads=core_threads())
            own.meet()
            if own.leads:
                join_parts(work, own.count, kept)
            own.meet()
        except BaseException:  # an interruption, too: the process may live on
            own.leave()
            raise


def join_parts(work: Work, count: int, kept: Kept | None) -> EmbeddingStore:
    """Put the store together from all parts, and from the rows of the old one that stay.

    ``kept``: the store that ``work.data`` is missing from, and what became of its data.
    Raises MismatchError for parts that are not there or not finished, or of other data, options or
    weights; StorageError where another process does the same; Error where more samples than
    max_quarantined could not be read.
    """
    ranges = begin_parts(work, count)
    with DirectoryLock(parts_folder(work.path), name=".lock"):
        return _joined(work, ranges, kept)


def _joined(work: Work, ranges: list[Range], kept: Kept | None) -> EmbeddingStore:
    parts = [
        _finished_part(work, index, len(ranges), rows) for index, rows in enumerate(ranges, start=1)
    ]
    _check_encoders(parts if kept is None else [kept[0], *parts])
    failed = [
        {**entry, "row": entry["row"] + part.metadata["part"]["first"]}
        for part in parts
        for entry in entries_of(Path(part.path))
    ]
    readers = {part.metadata["reader"]: part.path for part in parts}
    if len(readers) > 1:
        raise MismatchError(
            f"{readers['core']} was read by the core and {readers['pillow']} by Pillow; remove one "
            "of them, and embed its rows again with reader='core' or reader='pillow'"
        )
    if kept is None:
        entries = failed
        runs = np.array([(i, 0, len(part)) for i, part in enumerate(parts) if len(part)], np.int64)
        stores = parts
    else:
        old = listed_entries(kept[0])
        entries = _renumbered(kept[1].reused, old, failed)
        runs = _runs_of_both(kept[1].reused, parts)
        stores = [kept[0], *parts]
    _check_share(work, entries)
    counts = dict(sorted(Counter(entry["reason"] for entry in entries).items()))
    metadata = {
        **work.request, **_encoders_in(parts[0]), "reader": parts[0].metadata["reader"],
        "quarantined": counts, "complete": True,
    }  # fmt: skip
    if kept is not None:
        metadata["shard_rows"] = kept[0].metadata["shard_rows"]
        if earlier := _earlier(*kept):
            metadata["earlier"] = earlier
    # Before the store, so that finish_joining() can follow a kill in between.
    stage_list(parts_folder(work.path), entries, of=work.request["source"]["fingerprint"])
    _core.assemble_store(
        str(work.path), [store._core for store in stores], runs.reshape(-1, 3),
        metadata["shard_rows"], json.dumps(metadata),
    )  # fmt: skip
    store = EmbeddingStore.open(work.path)
    finish_joining(store)
    return store


def _earlier(old: EmbeddingStore, change: DataChange) -> list[dict[str, Any]]:
    """The stores before this one, oldest first: whose tables can be brought up to date."""
    known: list[dict[str, Any]] = old.metadata.get("earlier", [])
    if not change.moved and not change.removed:
        return known
    changed = int((change.reused < 0).sum()) - change.added
    now = {"fingerprint": old.fingerprint, "rows": len(old)}
    return [*known, {**now, "deleted": change.removed, "replaced": changed}]


def finish_joining(store: EmbeddingStore) -> None:
    """Give a store that was put together its list of failures, and remove its parts."""
    path = Path(store.path)
    of, counts = store.metadata["source"]["fingerprint"], store.metadata["quarantined"]
    if take_staged_list(parts_folder(path), path, of=of, counts=counts):
        discard_directory(parts_folder(path))


def _finished_part(work: Work, index: int, count: int, rows: Range) -> EmbeddingStore:
    path = part_path(work.path, index, count)
    request = part_request(work, index, count, rows)
    store = open_existing(path, request, dtype=work.call.dtype, resume=True)
    if store is not None and store.metadata.get("complete"):
        return store
    begun = "is not finished" if store else "is not there"
    raise MismatchError(
        f"part {index} of {count} {begun} ({path}): embed it with "
        f"part=({index}, {count}), or remove {parts_folder(work.path)} to begin anew"
    )


def _encoders_in(store: EmbeddingStore) -> dict[str, Any]:
    names = [f"{side}_{what}" for side in SIDES for what in ("weights", "engine")]
    return {name: store.metadata[name] for name in names if store.metadata.get(name)}


def _check_encoders(stores: list[EmbeddingStore]) -> None:
    """MismatchError where rows are of different weights, or were computed by different engines."""
    for side in SIDES:
        weights: dict[str, EmbeddingStore] = {}
        engines: dict[str, EmbeddingStore] = {}
        for store in stores:
            if digest := (store.metadata.get(f"{side}_weights") or {}).get("digest"):
                weights.setdefault(f"weights {digest[:12]}", store)
            if len(store):
                engines.setdefault(engine_in(store.metadata, side), store)
        for known in (weights, engines):
            if len(known) > 1:
                (a, first), (b, second) = list(known.items())[:2]
                raise MismatchError(
                    f"{side} rows of {first.path} were computed by {a}, and those of {second.path} "
                    f"by {b}; remove one of them, and embed its rows again as the other"
                )


def _check_share(work: Work, entries: list[dict[str, Any]]) -> None:
    most = work.call.max_quarantined
    if len(entries) > most * work.all_rows:
        raise Error(
            f"{len(entries)} samples of all parts cannot be read; max_quarantined={most} "
            f"allows {int(most * work.all_rows)} of {work.all_rows}. "
            f"quarantine.jsonl in each folder of {parts_folder(work.path)} lists them. Allow a "
            "larger share, or mend the data, remove that folder and begin anew"
        )


def _renumbered(
    reused: np.ndarray, old: list[dict[str, Any]], fresh: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Entries of the old store and of the rows that it lacked, under their new row numbers."""
    listed = np.array([entry["row"] for entry in old], dtype=np.int64)
    now = np.flatnonzero(np.isin(reused, listed))
    place = dict(zip(reused[now].tolist(), now.tolist(), strict=True))
    wanted = np.flatnonzero(reused < 0)
    return [{**e, "row": place[e["row"]]} for e in old if e["row"] in place] + [
        {**e, "row": int(wanted[e["row"]])} for e in fresh
    ]


def _runs_of_both(reused: np.ndarray, parts: list[EmbeddingStore]) -> np.ndarray:
    """Runs of rows of the old store (source 0) and of the parts (sources 1 …), int64 [n, 3]."""
    sizes = [len(part) for part in parts]
    new = reused < 0
    source, rows = np.zeros(len(reused), np.int64), reused.copy()
    source[new] = np.repeat(np.arange(1, len(parts) + 1), sizes)
    rows[new] = np.concatenate([np.arange(size) for size in sizes]) if sizes else []
    return runs_of(source, rows)
