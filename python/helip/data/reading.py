"""Rows of a data set for pages that show some of them: captions in order, pictures one by one."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from helip.common.errors import SampleError
from helip.data.captions import captions_of
from helip.data.dataset import read_ahead
from helip.data.image_transform import ImageTransform
from helip.data.picture_reader import PictureReader, can_read


def captions_in_order(data: Any, rows: Sequence[int]) -> Iterator[tuple[int, Sequence[str]]]:
    """Each row with all of its captions, none where they cannot be read.

    A Dataset is told which rows come next, so that those of other machines are on their way.
    """
    for row in read_ahead(data, rows, captions=True):
        try:
            yield row, captions_of(data, row)
        except SampleError:
            yield row, ()


class TransformedPictures:
    """Pictures of a data set by one transform, one at a time: read by the core where it can.

    Threads may share an object; those that the core reads take turns.
    """

    def __init__(self, data: Any, transform: ImageTransform) -> None:
        self._data, self._transform = data, transform
        self._reader = PictureReader(data, [transform]) if can_read(data) else None
        self._lock = threading.Lock()

    def get(self, row: int) -> torch.Tensor:
        """What the transform makes of the row. Raises SampleError where it cannot be read."""
        if self._reader is None:
            return self._transform.from_image(self._data.image(row))
        with self._lock:
            self._reader.start()
            coming = self._reader.begin(np.array([row], dtype=np.int64))
            if error := self._reader.wait(coming).get(0):
                raise error
            return coming.views[0][0]
