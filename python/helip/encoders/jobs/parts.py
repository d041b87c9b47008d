"""A job of embedding in parts: ranges of rows, each a store of its own until all are there.

Ranges end where batches do, so that each row is encoded among the same others as in a job of one
process, and the store that is put together in the end has the same bytes. A part is an ordinary
store in ``OUT.parts``, committed as it goes; any process that reads the data can make one.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helip import _core
from helip.common.errors import Error, InvalidArgumentError, MismatchError
from helip.common.files import discard_directory, make_directory
from helip.common.parts import (
    checked_part,
    part_path,
    parts_folder,
    parts_there,
    remove_parts,
)
from helip.encoders.jobs.job import Job
from helip.encoders.jobs.reading import batches_of
from helip.encoders.jobs.request import (
    SIDES,
    Kept,
    Work,
    change_since,
    check_encoders,
    open_existing,
    source_of,
)
from helip.encoders.quarantine import entries_of, stage_list, take_staged_list
from helip.encoders.registry import ImageEncoder, TextEncoder
from helip.store.data_identity import runs_of
from helip.store.embedding_store import EmbeddingStore

Encoders = tuple[ImageEncoder, TextEncoder]


class _Range(NamedTuple):
    first: int
    last: int  # exclusive


def most_parts(work: Work) -> int:
    """In how many parts the rows can be cut: as many as there are batches, one at least."""
    return max(len(_batches(work)), 1)


def _batches(work: Work) -> list[range]:
    return batches_of(0, len(work.data), work.call.batch_size, work.call.shard_rows)


def _ranges(work: Work, count: int) -> list[_Range]:
    """The rows of each of ``count`` parts, in like numbers of batches."""
    batches = _batches(work)
    bounds = [len(batches) * i // count for i in range(count + 1)]
    starts = [*(batch.start for batch in batches), len(work.data)]
    return [_Range(starts[a], starts[b]) for a, b in itertools.pairwise(bounds)]


def check_count(work: Work, count: int) -> None:
    """Refuse parts that a job of another number of parts has begun, and empty ones."""
    if (most := most_parts(work)) < count:
        raise InvalidArgumentError(
            f"{count} parts of {len(work.data):,} rows to embed: they are {most} batches of "
            f"batch_size={work.call.batch_size}; ask for at most {most} parts, or smaller batches"
        )
    others = {place.count for place in parts_there(work.path)} - {count}
    if others:
        raise MismatchError(
            f"{parts_folder(work.path)} holds parts of a job in {others.pop()}, now {count}; go on "
            "with as many, or remove that folder"
        )


def begun_parts(work: Work) -> int | None:
    """In how many parts a job was begun; None where none was."""
    return next((place.count for place in parts_there(work.path)), None)


def embed_part(
    work: Work, part: tuple[int, int], load: Callable[[], Encoders], *, bar: bool | None = None
) -> EmbeddingStore:
    """Embed the i-th of n parts, or go on with it; return its store.

    ``bar``: whether to show progress; None: as the call says.
    """
    index, count = checked_part(part)
    check_count(work, count)
    path = part_path(work.path, index, count)
    data, request = _part_of(work, index, count)
    found = open_existing(path, request, dtype=work.call.dtype, resume=True)
    if found is not None and change_since(found, data) is not None:
        discard_directory(path)  # of the data before it changed once more
        found = None
    if found is not None and found.metadata.get("complete"):
        return found
    image, text = load()
    if found is not None:
        check_encoders(found, image, text)
    make_directory(path.parent)
    job = Job(
        data, path, image, text, request, work.call, work.all_rows,
        first=request["part"]["first"], label="embed" if count == 1 else f"embed {index}/{count}",
        bar=work.call.progress if bar is None else bar,
    )  # fmt: skip
    return job.run(found)


def _part_of(work: Work, index: int, count: int) -> tuple[Any, dict[str, Any]]:
    """The data of a part, and what its store's metadata says of it."""
    first, last = _ranges(work, count)[index - 1]
    data = work.data.subset(np.arange(first, last))
    place = {"index": index, "count": count, "first": first}
    return data, {**work.request, "source": source_of(data), "part": place}


def join_parts(work: Work, count: int, kept: Kept | None) -> EmbeddingStore:
    """Put the store together from all parts, and from the rows of the old one that stay.

    ``kept``: the store that ``work.data`` is missing from, and what became of its data.
    Raises MismatchError for parts that are not there or not finished, or of other data, options or
    weights; Error where more samples than max_quarantined could not be read.
    """
    parts = [_finished(work, index, count) for index in range(1, count + 1)]
    _check_weights(parts if kept is None else [kept[0], *parts])
    failed = [
        {**entry, "row": entry["row"] + part.metadata["part"]["first"]}
        for part in parts
        for entry in entries_of(Path(part.path))
    ]
    _check_share(work, failed)
    readers = {part.metadata["reader"]: part.path for part in parts}
    if len(readers) > 1:
        raise MismatchError(
            f"{readers['core']} was read by the core and {readers['pillow']} by Pillow; remove one "
            "of them, and embed its rows again with reader='core' or 'pillow' (--reader)"
        )
    if kept is None:
        entries = failed
        runs = np.array([(i, 0, len(part)) for i, part in enumerate(parts) if len(part)], np.int64)
        stores = parts
    else:
        entries = _moved(kept[1].reused, entries_of(work.path), failed)
        runs = _mixed_runs(kept[1].reused, parts)
        stores = [kept[0], *parts]
    counts = dict(sorted(Counter(entry["reason"] for entry in entries).items()))
    metadata = {
        **work.request, **_weights_in(parts[0]), "reader": parts[0].metadata["reader"],
        "quarantined": counts, "complete": True,
    }  # fmt: skip
    # Before the store, so that finish_joining() can follow a kill in between.
    stage_list(parts_folder(work.path), entries, of=work.request["source"]["fingerprint"])
    _core.assemble_store(
        str(work.path), [store._core for store in stores], runs.reshape(-1, 3),
        work.call.shard_rows if kept is None else kept[0].metadata["shard_rows"],
        json.dumps(metadata),
    )  # fmt: skip
    store = EmbeddingStore.open(work.path)
    finish_joining(store)
    return store


def finish_joining(store: EmbeddingStore) -> None:
    """Give a store that was put together its list of failures, and remove its parts."""
    path = Path(store.path)
    if take_staged_list(parts_folder(path), path, of=store.metadata["source"]["fingerprint"]):
        remove_parts(path)


def _finished(work: Work, index: int, count: int) -> EmbeddingStore:
    path = part_path(work.path, index, count)
    data, request = _part_of(work, index, count)
    store = open_existing(path, request, dtype=work.call.dtype, resume=True)
    if store is None or not store.metadata.get("complete"):
        begun = "is not finished" if store else "is not there"
        raise MismatchError(
            f"part {index} of {count} {begun} ({path}): embed it with part=({index}, {count}) "
            f"(--part {index}/{count}), or remove {parts_folder(work.path)} to begin anew"
        )
    change = change_since(store, data)
    if change is not None:
        raise MismatchError(
            f"{path} holds part {index} of {count} of other data: {change}. Embed that part again "
            f"with part=({index}, {count}) (--part {index}/{count})"
        )
    return store


def _weights_in(store: EmbeddingStore) -> dict[str, Any]:
    names = [f"{side}_weights" for side in SIDES]
    return {name: store.metadata[name] for name in names if store.metadata.get(name)}


def _check_weights(stores: list[EmbeddingStore]) -> None:
    for side in SIDES:
        known: dict[str, EmbeddingStore] = {}
        for store in stores:
            if digest := (store.metadata.get(f"{side}_weights") or {}).get("digest"):
                known.setdefault(digest, store)
        if len(known) > 1:
            first, second = list(known.values())[:2]
            raise MismatchError(
                f"{first.path} and {second.path} were embedded with different weights of the "
                f"{side} encoder {first.metadata[f'{side}_encoder']!r}; remove the one that is of "
                "the wrong weights, and embed its rows again"
            )


def _check_share(work: Work, failed: list[dict[str, Any]]) -> None:
    most = work.call.max_quarantined
    if len(failed) > most * work.all_rows:
        raise Error(
            f"{len(failed)} samples of all parts cannot be read; max_quarantined={most} allows "
            f"{int(most * work.all_rows)} of {work.all_rows}. Mend the data, or allow a larger "
            f"share: quarantine.jsonl in each folder of {parts_folder(work.path)} lists them"
        )


def _moved(
    reused: np.ndarray, old: list[dict[str, Any]], fresh: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Entries of the old store and of the rows that it lacked, under their new row numbers."""
    place = {int(row): new for new, row in enumerate(reused.tolist()) if row >= 0} if old else {}
    wanted = np.flatnonzero(reused < 0)
    return [{**e, "row": place[e["row"]]} for e in old if e["row"] in place] + [
        {**e, "row": int(wanted[e["row"]])} for e in fresh
    ]


def _mixed_runs(reused: np.ndarray, parts: list[EmbeddingStore]) -> np.ndarray:
    """Runs of rows of the old store (source 0) and of the parts (sources 1 …), int64 [n, 3]."""
    sizes = [len(part) for part in parts]
    new = reused < 0
    source, rows = np.zeros(len(reused), np.int64), reused.copy()
    source[new] = np.repeat(np.arange(1, len(parts) + 1), sizes)
    rows[new] = np.concatenate([np.arange(size) for size in sizes]) if sizes else []
    return runs_of(source, rows)
