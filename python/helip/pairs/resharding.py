"""Writes tar shards anew with hard pairs beside their targets: reads become nearly sequential.

docs/reshard.md has the order, the files and what it gains.
``order`` [N] int64 is a permutation: new row p is old row ``order[p]``.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError, StorageError
from helip.common.files import publish_directory, replace_file, storage_errors, write_json
from helip.common.options import ProgressOptions, keywords
from helip.common.progress import Follower, ProgressBar
from helip.common.quantities import parse_bytes
from helip.data.dataset import Dataset
from helip.data.opening import open_dataset
from helip.data.shards import members_of, tars_of, write_shards
from helip.encoders.quarantine import entries_of
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.options import ReshardOptions
from helip.store.data_identity import Identity, refuse_another_store, require_same_data
from helip.store.embedding_store import EmbeddingStore, store_of

_ROWS_AT_ONCE = 8192
_SHARD_ROWS = 262_144
_PACKED = 64  # rows of the smallest block that is packed
_SHOWN_BLOCKS = (64, 256, 1024)


def inverse_of(order: np.ndarray) -> np.ndarray:
    """int64 [N]: the new row of each old one."""
    places = np.empty(len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return places


def locality(
    pairs: HardPairs, order: np.ndarray, blocks: Sequence[int], *, rank_max: int | None = None
) -> dict[int, float]:
    """Share of the hard pairs that lie in the same block of so many new rows as their target."""
    places = inverse_of(order)
    inside, total = dict.fromkeys(blocks, 0), 0
    for first, pools in pairs.blocks():
        ids = pools.ids[:, :rank_max]
        known = ids >= 0
        target = np.broadcast_to(places[first : first + len(ids), None], ids.shape)[known]
        pair = places[ids[known]]
        total += len(pair)
        for block in blocks:
            inside[block] += int((target // block == pair // block).sum())
    return {block: count / total if total else 0.0 for block, count in inside.items()}


def _write_pairs(
    pairs: HardPairs,
    order: np.ndarray,
    path: Path,
    *,
    fingerprint: str,
    data_fingerprint: str,
    note: dict[str, Any],
) -> None:
    """Writes the table of the new rows; ``note`` goes into its report as ``reshard``.

    Pools keep their order, so that of two pairs with the same score the one that came first still
    does, whatever its new number.
    """
    places = inverse_of(order)
    ids, scores, counts = pairs.ids, pairs.scores, pairs.counts
    writer = _core.HardPairsWriter(path, len(order), pairs.k)
    for first in range(0, len(order), _ROWS_AT_ONCE):
        rows = order[first : first + _ROWS_AT_ONCE]
        old = ids[rows].astype(np.int64)
        writer.write(first, np.where(old >= 0, places[old], -1), scores[rows], counts[rows])
    writer.finish(
        fingerprint=fingerprint,
        data_fingerprint=data_fingerprint,
        options_json=json.dumps(pairs.options),
        report_json=json.dumps({**pairs.report, "reshard": note}),
    )


def _write_store(
    store: EmbeddingStore,
    order: np.ndarray,
    path: Path,
    *,
    keys: Sequence[str],
    data_fingerprint: str,
    progress: bool,
) -> str:
    """Writes the store of the new rows: keys, embeddings, deleted rows, quarantine, metadata;
    returns its fingerprint.

    Values are the same bytes; the scales of an int8 store may differ in their last bit.
    """
    metadata = store.metadata
    if "source" in metadata:
        metadata["source"] = {"fingerprint": data_fingerprint, "rows": len(order)}
    places = inverse_of(order)
    others = store.matrix_names[2:]
    with (
        ProgressBar(len(order), label="store", enabled=progress) as bar,
        EmbeddingStore.create(
            path,
            image_dim=store.matrices[0].cols,
            text_dim=store.matrices[1].cols,
            dtype=store.dtype,
            shard_rows=metadata.get("shard_rows", _SHARD_ROWS),
            digests=store.digests is not None,
            matrices={name: store.view(name).cols for name in others},
        ) as writer,
    ):
        for first in range(0, len(order), _ROWS_AT_ONCE):
            rows = order[first : first + _ROWS_AT_ONCE]
            digests = store.digests
            taken = None if digests is None else (digests[0][rows], digests[1][rows])
            more = {name: store.decoded(name, rows) for name in others}
            writer.append([keys[row] for row in rows.tolist()], *store.rows(rows), taken, more)
            bar.update(len(rows))
        if len(store.deleted):
            writer.delete(places[store.deleted])
        listed = [entry for entry in entries_of(Path(store.path)) if entry["row"] < len(order)]
        if listed:
            new = ({**entry, "row": int(places[entry["row"]])} for entry in listed)
            lines = (json.dumps(entry) + "\n" for entry in sorted(new, key=lambda x: x["row"]))
            replace_file(path / "quarantine.jsonl", "".join(lines))
        return writer.finish(metadata).fingerprint


@dataclass(frozen=True)
class Resharded:
    """What :func:`reshard` wrote, and what it found."""

    path: str  # of the directory, a data set for open_dataset
    pairs: str  # of the table that belongs to it
    store: str | None  # of its store, where the old one was given
    rows: int
    shards: int
    members: int
    bytes: int  # of all shards
    left_out: dict[str, int]  # members that were not copied, by reason
    locality: dict[int, dict[str, float]]  # rows of a block: share of the hard pairs in that of
    # their target, before and after
    fingerprint: str  # of the data set: its keys in order

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class ReshardCall(ReshardOptions, ProgressOptions):
    """What `reshard` is asked."""

    data: Dataset | str | os.PathLike[str] | list[str] = field(kw_only=False)
    """Tar shards, or a data set opened from them; of a part of one only that part is copied."""
    pairs: HardPairs | str | os.PathLike[str] = field(kw_only=False)
    """The table that was mined from them."""
    out: str | os.PathLike[str]
    """A directory that does not exist."""
    store: EmbeddingStore | str | os.PathLike[str] | None = None
    """The store that the table was mined from, to be renumbered too. Without it the new table names
    no store, and one of the new data set comes from embedding it."""


@keywords(ReshardCall)
def reshard(call: ReshardCall) -> Resharded:
    """Copies tar shards into new ones in which a target and its hard pairs lie close together.

    ``out`` gets the shards ``00000.tar``, …; ``pairs``, the table under the new row numbers, with
    the data fingerprint of the new data set; ``store`` where the old store is given; ``order.npy``,
    int64 [N], the old row of each new one; and ``reshard.json``, what this returns. Every sample is
    there once, with all its members, byte for byte. The same input and options give the same bytes.
    The directory appears when it is whole, or not at all.

    Raises:
        MismatchError: the table or the store belongs to other data, or a shard changed.
        UnsupportedError: data that are not tar shards, or a sample with nothing but links.
        InvalidArgumentError: an option out of its bound; ``out`` exists.
        StorageError: the disk is full or refuses; nothing is left in ``out``.
    """
    out, rank_max, seed, progress = Path(call.out), call.rank_max, call.seed, call.progress
    shard_bytes = parse_bytes(call.shard_size, name="shard_size")
    if out.exists():
        raise InvalidArgumentError(f"{out} exists already; choose another out, or remove it")
    opened = open_dataset(call.data)
    tars, rows = tars_of(opened)
    table = call.pairs if isinstance(call.pairs, HardPairs) else HardPairs.open(call.pairs)
    store = call.store
    if store is not None:
        store = store_of(store).download(progress=progress)
    _refuse_other_data(opened, table, store)
    if rank_max is not None and rank_max > table.k:
        raise InvalidArgumentError(
            f"rank_max is {rank_max}; it must lie in 1 .. k = {table.k}, or be None for all ranks"
        )

    members = members_of(tars, progress=progress).of_rows(rows)
    _check_space(out, members.least_bytes(), table, store)
    with ProgressBar(None, label="order", enabled=progress) as bar:
        order = _core.locality_order(
            table._core, block=_PACKED, rank_max=rank_max or 0, seed=seed, progress=Follower(bar)
        )
    data_fingerprint = opened.subset(order).fingerprint
    with publish_directory(out) as folder:
        sizes = write_shards(
            folder, members, tars.keys, rows[order], shard_bytes=shard_bytes, progress=progress
        )
        fingerprint = ""
        if store is not None:
            fingerprint = _write_store(
                store, order, folder / "store", keys=opened.keys,
                data_fingerprint=data_fingerprint, progress=progress,
            )  # fmt: skip
        before, after = (
            locality(table, each, _SHOWN_BLOCKS, rank_max=rank_max)
            for each in (np.arange(len(order)), order)
        )
        note = {
            "from": table.fingerprint,
            "from_keys": table.data_fingerprint or opened.fingerprint,
            "seed": seed,
            "rank_max": rank_max,
        }
        _write_pairs(
            table, order, folder / "pairs", fingerprint=fingerprint if table.fingerprint else "",
            data_fingerprint=data_fingerprint, note=note,
        )  # fmt: skip
        np.save(folder / "order.npy", order)
        result = Resharded(
            path=str(out),
            pairs=str(out / "pairs"),
            store=None if store is None else str(out / "store"),
            rows=len(order),
            shards=len(sizes),
            members=len(members),
            bytes=sum(sizes),
            left_out=members.left_out,
            locality={size: {"before": before[size], "after": after[size]} for size in before},
            fingerprint=data_fingerprint,
        )
        written = {"format": 1, **result.to_dict(), **note}
        for name in ("path", "pairs", "store"):  # a moved or copied directory has other ones
            del written[name]
        write_json(folder / "reshard.json", written)
    return result


def _refuse_other_data(data: Dataset, pairs: HardPairs, store: EmbeddingStore | None) -> None:
    here = Identity.of(data)
    require_same_data(
        "the table of hard pairs", Identity(len(pairs), pairs.data_fingerprint), here,
        "give the shards that it was mined from, in their order",
    )  # fmt: skip
    if store is not None:
        require_same_data(
            repr(store), Identity(len(store), store.data_fingerprint), here,
            "give the store of these shards",
        )  # fmt: skip
        refuse_another_store(pairs.fingerprint, store)


def _check_space(out: Path, needed: int, pairs: HardPairs, store: EmbeddingStore | None) -> None:
    """Raises where the disk cannot hold the result, before hours of copying show it."""
    needed += pairs.ids.nbytes + pairs.scores.nbytes + pairs.counts.nbytes
    if store is not None:
        needed += store.image_tensor.nbytes + store.text_tensor.nbytes
    parent = next(each for each in out.absolute().parents if each.exists())
    with storage_errors("look at", parent):
        free = shutil.disk_usage(parent).free
    if needed > free:
        raise StorageError(
            errno.ENOSPC,
            f"{out} needs {needed:,} bytes, and {parent} has {free:,} free; make room, or choose "
            "another out",
        )
