"""One pass of the core's reader over a data set, batches being begun ahead."""

from __future__ import annotations

from typing import Any

import numpy as np

import helip
from helip.data.picture_reader import PictureReader

BATCH, AHEAD = 64, 2


def ready_reader(data: Any, threads: int) -> PictureReader:
    """A reader of training pictures of 224 px, its threads being there."""
    reader = PictureReader(data, [helip.ImageTransform.train(size=224)], threads=threads)
    reader.start()
    return reader


def read_all(reader: PictureReader, rows: np.ndarray) -> None:
    """Read the rows int64 [n]; a picture that cannot be read ends the program."""
    waiting = []
    for first in range(0, len(rows), BATCH):
        waiting.append(reader.begin(rows[first : first + BATCH]))
        if len(waiting) > AHEAD:
            _take(reader, waiting.pop(0))
    for batch in waiting:
        _take(reader, batch)


def _take(reader: PictureReader, batch: Any) -> None:
    if reader.wait(batch):
        raise SystemExit("a picture cannot be read")
