"""NegCLIP's table of hard negatives (arXiv 2210.01936), as its fork of open_clip reads it.

Tab-separated with the columns ``title``, ``filepath``, ``neg_caption`` and ``neg_image``. The last
two are Python lists, of captions and of rows of this same file, counted from 0 below the header. A
training step draws one of each, and draws a negative caption of the drawn row as well, so no list
of any row may be empty.
"""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from helip import _core
from helip.common.errors import UnsupportedError, needed
from helip.common.files import publish_file
from helip.pairs.exchange.cells import Cells, reasons_in_words
from helip.pairs.matching import data_of

COLUMNS = ("title", "filepath", "neg_caption", "neg_image")


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
            writer.writerow(COLUMNS)
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
