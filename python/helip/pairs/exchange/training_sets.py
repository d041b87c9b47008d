"""Tables of hard pairs as others train on them, with the captions and pictures of their rows.

A ``datasets.Dataset`` has the columns and types of ``sentence_transformers.util.
mine_hard_negatives`` for a data set with the columns ``anchor`` and ``positive``; docs/pairs-out.md
has them. NegCLIP's table of hard negatives (arXiv 2210.01936) is as its fork of open_clip reads it:
tab-separated with the columns ``title``, ``filepath``, ``neg_caption`` and ``neg_image``. The last
two are Python lists, of captions and of rows of this same file, counted from 0 below the header. A
training step draws one of each, and draws a negative caption of the drawn row as well, so no list
of any row may be empty.
"""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from helip import _core
from helip.common.errors import SampleError, UnsupportedError, needed
from helip.common.files import publish_file
from helip.data.dataset import read_ahead
from helip.data.paths import file_sizes
from helip.pairs.matching import data_of
from helip.pairs.options import Format, Modality

#: What is read of a row: ``path`` is a picture that has a file of its own, and no other.
Kind = Literal["text", "image", "path"]

_MISSING = "missing_image"
_NO_TEXT = "name_not_utf8"  # of a file: any bytes may name one, and a table has text alone
_CHUNK_ROWS = 1 << 18
_CHUNK_BYTES = 1 << 28


class Cells:
    """What each of some rows has: a caption, or a picture.

    ``readable`` bool [n] tells of each row of ``rows`` int64 [n], ascending, whether it could be
    read; ``failures`` counts the others by reason. Captions are the first of each row. A picture is
    the path of its file; where it has none of its own, its bytes as they lie, else PNG.
    """

    def __init__(self, data: Any, rows: np.ndarray, kind: Kind) -> None:
        import pyarrow

        self._arrow: Any = pyarrow
        self.rows = rows
        self.failures: Counter[str] = Counter()
        texts: list[str | None]
        blobs: list[bytes | None]
        texts, blobs = [], []
        for row in read_ahead(data, rows.tolist(), captions=kind != "image"):
            text = blob = None
            try:
                if kind == "text":
                    text = data.caption(row)
                elif kind == "image":
                    text, blob = _picture(data, row)
                elif (text := _path(data, row)) is None:
                    self.failures["no_file"] += 1
            except SampleError as error:
                self.failures[error.reason] += 1
            if text is not None and kind != "text" and not _is_utf8(text):
                text = None
                self.failures[_NO_TEXT] += 1
            texts.append(text)
            blobs.append(blob)
        if kind != "text":
            self._refuse_absent(texts)
        self.readable = np.array(
            [text is not None or blob is not None for text, blob in zip(texts, blobs, strict=True)],
            dtype=np.bool_,
        )
        # Large ones, since all of them together may have more than 2 GiB.
        self._texts = pyarrow.array(texts, type=pyarrow.large_string())
        self._blobs = None
        if kind == "image":
            self._blobs = pyarrow.array(blobs, type=pyarrow.large_binary())

    @property
    def mean_bytes(self) -> float:
        """Bytes of a cell, on average."""
        whole = self._texts.nbytes + (0 if self._blobs is None else self._blobs.nbytes)
        return whole / max(len(self.rows), 1)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where ``rows`` [...], all of them among these, lie in ``readable``."""
        return np.searchsorted(self.rows, rows)

    def text(self, row: int) -> str:
        """The caption, or the path of the picture, of a row that could be read."""
        return self._texts[int(self.places(np.array(row)))].as_py()

    def take(self, rows: np.ndarray) -> Any:
        """An Arrow array of ``rows`` [n]: string, or struct of ``bytes`` and ``path``."""
        places = self._arrow.array(self.places(rows))
        texts = self._texts.take(places).cast(self._arrow.string())
        if self._blobs is None:
            return texts
        blobs = self._blobs.take(places).cast(self._arrow.binary())
        return self._arrow.StructArray.from_arrays([blobs, texts], ["bytes", "path"])

    def _refuse_absent(self, paths: list[str | None]) -> None:
        named = [place for place, path in enumerate(paths) if path is not None]
        sizes = file_sizes(paths[place] or "" for place in named)
        for place in (named[i] for i in np.flatnonzero(sizes == 0).tolist()):
            paths[place] = None
            self.failures[_MISSING] += 1


def reasons_in_words(failures: Mapping[str, int]) -> str:
    """How many rows could not be read, by reason."""
    return ", ".join(f"{count:,} {reason}" for reason, count in failures.items())


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _picture(data: Any, row: int) -> tuple[str | None, bytes | None]:
    """(path, bytes) of a picture, of which one is None; what has neither is decoded."""
    path = _path(data, row)
    if path is not None:
        return path, None
    blob = data._image_bytes(row) if hasattr(data, "_image_bytes") else None
    if blob is None:
        buffer = io.BytesIO()
        data.image(row).save(buffer, "PNG")
        blob = buffer.getvalue()
    return None, blob


def _path(data: Any, row: int) -> str | None:
    return data.image_path(row) if hasattr(data, "image_path") else None


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
    targets, negatives, valid = targets[kept], negatives[kept], valid[kept]
    batches = []
    for block in (slice(at, at + step) for at in range(0, len(targets), step)):
        columns = _columns(kind, anchors, documents, targets[block], negatives[block], valid[block])
        batches.append(pyarrow.record_batch(columns, schema=schema))
    info = datasets.DatasetInfo(features=features, description=json.dumps(account))
    return datasets.Dataset(pyarrow.Table.from_batches(batches, schema=schema), info=info)


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
    kind: Format,
    anchors: Cells,
    documents: Cells,
    targets: np.ndarray,
    negatives: np.ndarray,
    valid: np.ndarray,
) -> list[Any]:
    """The columns of a block: targets [b], negatives and valid [b, n]."""
    if kind in ("triplet", "n-tuple"):
        lists = negatives.T
        if kind == "triplet":
            targets, lists = np.repeat(targets, valid.sum(axis=1)), negatives[valid][None]
        return [anchors.take(targets), documents.take(targets), *map(documents.take, lists)]
    import pyarrow

    # The positive goes before the negatives.
    listed = np.concatenate([targets[:, None], negatives], axis=1)
    there = np.pad(valid, ((0, 0), (1, 0)), constant_values=True)
    labels = pyarrow.array((np.nonzero(there)[1] == 0).astype(np.int64))
    found, counts = documents.take(listed[there]), there.sum(axis=1)
    if kind == "labeled-pair":
        return [anchors.take(np.repeat(targets, counts)), found, labels]
    offsets = pyarrow.array(np.cumsum(np.pad(counts, (1, 0)), dtype=np.int32))
    columns = [pyarrow.ListArray.from_arrays(offsets, each) for each in (found, labels)]
    return [anchors.take(targets), *columns]


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


def write_negclip(
    table: _core.HardPairs,
    data: Any,
    path: Path,
    *,
    num_negatives: int,
    overwrite: bool,
) -> int:
    """Write the file; the number of its rows. See `HardPairs.to_negclip`."""
    with needed("NegCLIP's table needs the pyarrow library", "helip[data]"):
        import pyarrow  # noqa: F401
    with publish_file(path, overwrite=overwrite) as temporary:
        data = data_of(table, data)
        rows = np.arange(len(table), dtype=np.int64)
        pictures, captions = Cells(data, rows, "path"), Cells(data, rows, "text")
        if not pictures.readable.any():
            raise UnsupportedError(
                f"{data!r} has no pictures in files of their own, and NegCLIP's table names files; "
                "write the pictures to a folder and open it, or use to_dataset"
            )
        ids = table.ids[:, :num_negatives].astype(np.int64)
        valid = _closed(ids, pictures.readable & captions.readable)
        written = valid.any(axis=1)
        places = np.cumsum(written) - 1
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(["title", "filepath", "neg_caption", "neg_image"])
            for row in np.flatnonzero(written).tolist():
                pool = ids[row, valid[row]]
                texts = [captions.text(other) for other in pool.tolist()]
                writer.writerow(
                    [captions.text(row), pictures.text(row), texts, places[pool].tolist()]
                )
    count = int(written.sum())
    if count < len(table):
        reasons = reasons_in_words(pictures.failures + captions.failures)
        warnings.warn(
            f"{len(table) - count:,} of {len(table):,} targets are left out: they have no hard "
            f"pair that is itself written{f', or cannot be read ({reasons})' if reasons else ''}",
            stacklevel=3,
        )
    return count


def _closed(ids: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """bool [n, k]: pairs of rows of which each has a pair again; ``alive`` [n] may be written."""
    while True:
        valid = (ids >= 0) & alive[ids] & alive[:, None]
        remaining: np.ndarray = valid.any(axis=1)
        if remaining.sum() == alive.sum():
            return valid
        alive = remaining
