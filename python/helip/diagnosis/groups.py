"""Numbers that tell which rows of a data set have equal captions, or show one picture."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.errors import SampleError
from helip.data.captions import caption_group
from helip.data.dataset import read_ahead

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class RowGroups:
    """The groups of rows of a data set, read when they are asked for and kept.

    A row has the number of its first caption (`helip.data.captions`), which is the one that is
    embedded and mined, and where the data knows of pictures at several rows that of its picture.
    0 where the caption cannot be read.
    """

    def __init__(self, data: Any) -> None:
        self._data = data
        self._captions: dict[int, int] = {}
        self._pictures = data.image_groups()
        self.unread: Counter[str] = Counter()

    def read(self, rows: Ints) -> None:
        """Read the captions of ``rows``, those that were read before not again."""
        missing = [row for row in np.unique(rows).tolist() if row not in self._captions]
        for row in read_ahead(self._data, missing, captions=True):
            try:
                self._captions[row] = caption_group(self._data.caption(row))
            except SampleError as error:
                self._captions[row] = 0
                self.unread[error.reason] += 1

    def of(self, rows: Ints) -> Ints:
        """int64 [n, m]: in each column the same number for equal rows; 0 equals nothing."""
        self.read(rows)
        captions = np.array([self._captions[row] for row in rows.tolist()], dtype=np.int64)
        if self._pictures is None:
            return captions[:, None]
        return np.stack([captions, self._pictures[rows]], axis=1)


def equal(one: Ints, others: Ints) -> Bools:
    """bool [n, p]: whether the groups of ``one`` [n, m] and of ``others`` [n, p, m] agree
    in a column."""
    return ((one[:, None] == others) & (one[:, None] != 0)).any(axis=2)
