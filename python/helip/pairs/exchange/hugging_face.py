"""A table of hard pairs as a ``datasets.Dataset``, as sentence-transformers trains on it.

Columns and types are those of ``sentence_transformers.util.mine_hard_negatives`` for a data set
with the columns ``anchor`` and ``positive``; docs/pairs-out.md has them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import needed
from helip.pairs.exchange.cells import Cells, reasons_in_words
from helip.pairs.matching import data_of
from helip.pairs.options import Format, Modality

_CHUNK_ROWS = 1 << 18
_CHUNK_BYTES = 1 << 28


def dataset_of(
    table: _core.HardPairs, data: Any, kind: Format, anchor: Modality, num_negatives: int
) -> Any:
    """The ``datasets.Dataset``; see `HardPairs.to_dataset`."""
    with needed("Hugging Face data sets need the datasets library", "helip[data]"):
        import datasets
        import pyarrow
    data = data_of(table, data)
    wanted = num_negatives if kind == "n-tuple" else 1
    targets = np.flatnonzero(table.counts >= wanted)
    negatives = table.ids[targets, :num_negatives].astype(np.int64)  # [t, n]
    other: Modality = "image" if anchor == "text" else "text"
    anchors = Cells(data, targets, anchor)
    named = np.unique(np.concatenate([targets, negatives[negatives >= 0]]))
    documents = Cells(data, named, other)

    valid = negatives >= 0
    valid[valid] = documents.readable[documents.places(negatives[valid])]
    whole = anchors.readable & documents.readable[documents.places(targets)]
    enough = valid.sum(axis=1) >= wanted
    kept = whole & enough
    account = {
        "targets": len(table),
        "kept": int(kept.sum()),
        "too_few_negatives": len(table) - len(targets) + int((whole & ~enough).sum()),
        "unreadable": int((~whole).sum()),
        "unreadable_by_reason": dict(anchors.failures + documents.failures),
    }
    _tell(account, wanted)

    features = _features(datasets, kind, anchor, num_negatives)
    schema = features.arrow_schema
    step = int(_CHUNK_BYTES / (max(anchors.mean_bytes, documents.mean_bytes) + 1))
    step = max(1, min(step, _CHUNK_ROWS) // (num_negatives + 1))
    rows = _rows(targets[kept], negatives[kept], valid[kept], step)
    batches = [
        pyarrow.record_batch(_columns(pyarrow, kind, anchors, documents, *block), schema=schema)
        for block in rows
    ]
    info = datasets.DatasetInfo(features=features, description=json.dumps(account))
    return datasets.Dataset(pyarrow.Table.from_batches(batches, schema=schema), info=info)


def _rows(
    targets: np.ndarray, negatives: np.ndarray, valid: np.ndarray, step: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for at in range(0, len(targets), step):
        yield targets[at : at + step], negatives[at : at + step], valid[at : at + step]


def _features(datasets: Any, kind: Format, anchor: Modality, num_negatives: int) -> Any:
    text, image = datasets.Value("string"), datasets.Image()
    first, second = (text, image) if anchor == "text" else (image, text)
    label = datasets.Value("int64")
    columns: dict[str, Any] = {"anchor": first, "positive": second}
    if kind == "triplet":
        columns["negative"] = second
    elif kind == "n-tuple":
        columns |= {f"negative_{rank}": second for rank in range(1, num_negatives + 1)}
    elif kind == "labeled-pair":
        columns["label"] = label
    else:
        columns |= {"positive": [second], "labels": [label]}
    return datasets.Features(columns)


def _columns(
    arrow: Any,
    kind: Format,
    anchors: Cells,
    documents: Cells,
    targets: np.ndarray,
    negatives: np.ndarray,
    valid: np.ndarray,
) -> list[Any]:
    """The columns of a block: targets [b], negatives and valid [b, n]."""
    if kind == "n-tuple":
        columns = [documents.take(column) for column in negatives.T]
        return [anchors.take(targets), documents.take(targets), *columns]
    if kind == "triplet":
        repeated = np.repeat(targets, valid.sum(axis=1))
        return [
            anchors.take(repeated), documents.take(repeated), documents.take(negatives[valid])
        ]  # fmt: skip
    # The positive goes before the negatives.
    listed = np.concatenate([targets[:, None], negatives], axis=1)
    there = np.concatenate([np.ones((len(targets), 1), np.bool_), valid], axis=1)
    labels = np.zeros(listed.shape, dtype=np.int64)
    labels[:, 0] = 1
    counts = there.sum(axis=1)
    found, flat = documents.take(listed[there]), arrow.array(labels[there])
    if kind == "labeled-pair":
        return [anchors.take(np.repeat(targets, counts)), found, flat]
    offsets = np.zeros(len(targets) + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    lists = (arrow.ListArray.from_arrays(arrow.array(offsets), each) for each in (found, flat))
    return [anchors.take(targets), *lists]


def _tell(account: dict[str, Any], wanted: int) -> None:
    left_out = account["targets"] - account["kept"]
    if not left_out and not account["unreadable_by_reason"]:
        return
    reasons = reasons_in_words(account["unreadable_by_reason"])
    warnings.warn(
        f"{left_out:,} of {account['targets']:,} targets are left out: "
        f"{account['too_few_negatives']:,} with fewer than {wanted} negatives, "
        f"{account['unreadable']:,} that cannot be read"
        + (f"; captions and pictures that cannot be read: {reasons}" if reasons else ""),
        stacklevel=4,
    )
