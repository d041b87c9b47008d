"""Tables of hard pairs and stores under new row numbers.

``order`` [N] int64 is a permutation: new row p is old row ``order[p]``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.files import storage_errors
from helip.common.progress import ProgressBar
from helip.encoders.quarantine import Quarantine
from helip.pairs.hard_pairs import HardPairs
from helip.store.embedding_store import EmbeddingStore

_BLOCK = 8192
_SHARD_ROWS = 262_144


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


def write_pairs(
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
    for first in range(0, len(order), _BLOCK):
        rows = order[first : first + _BLOCK]
        old = ids[rows].astype(np.int64)
        writer.write(first, np.where(old >= 0, places[old], -1), scores[rows], counts[rows])
    writer.finish(
        fingerprint=fingerprint,
        data_fingerprint=data_fingerprint,
        options_json=json.dumps(pairs.options),
        report_json=json.dumps({**pairs.report, "reshard": note}),
    )


def write_store(
    store: EmbeddingStore,
    order: np.ndarray,
    path: Path,
    *,
    keys: Sequence[str],
    data_fingerprint: str,
    progress: bool,
) -> EmbeddingStore:
    """Writes the store of the new rows: keys, embeddings, deleted rows, quarantine, metadata.

    Values are the same bytes; the scales of an int8 store may differ in their last bit.
    """
    metadata = store.metadata
    if "source" in metadata:
        metadata["source"] = {"fingerprint": data_fingerprint, "rows": len(order)}
    places = inverse_of(order)
    with (
        ProgressBar(len(order), label="store", enabled=progress) as bar,
        EmbeddingStore.create(
            path,
            image_dim=store.matrices[0].cols,
            text_dim=store.matrices[1].cols,
            dtype=store.dtype,
            shard_rows=metadata.get("shard_rows", _SHARD_ROWS),
            digests=store.digests is not None,
        ) as writer,
    ):
        for first in range(0, len(order), _BLOCK):
            rows = order[first : first + _BLOCK]
            digests = store.digests
            taken = None if digests is None else (digests[0][rows], digests[1][rows])
            writer.append([keys[row] for row in rows.tolist()], *store.rows(rows), taken)
            bar.update(len(rows))
        if len(store.deleted):
            writer.delete(places[store.deleted])
        _write_quarantine(Path(store.path), places, path)
        return writer.finish(metadata)


def _write_quarantine(source: Path, places: np.ndarray, out: Path) -> None:
    listed = source / "quarantine.jsonl"
    if not listed.exists():
        return
    with storage_errors("read", listed):
        entries = [json.loads(line) for line in listed.read_bytes().splitlines()]
    entries = [entry for entry in entries if entry["row"] < len(places)]
    entries.sort(key=lambda entry: places[entry["row"]])
    with Quarantine(out, committed_rows=0, counts={}) as quarantine:
        for entry in entries:
            row = int(places[entry["row"]])
            quarantine.add(row, entry["key"], entry["reason"], entry["message"])
        quarantine.sync()
