"""A data set with a row for each caption, of one with a row for each picture."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from helip.common.errors import SampleError, UnsupportedError
from helip.data.captions import caption_digests
from helip.data.dataset import Dataset, Subset
from helip.data.packed_strings import KeyList


class CaptionRows(Subset):
    """A row for each caption of each row of another data set, in that order.

    The keys are ``KEY#0``, ``KEY#1``, …; a row whose captions cannot be read stays one. Rows of one
    picture have one number in `image_groups`. Opening it reads all captions.
    """

    def __init__(self, parent: Dataset) -> None:
        captions = parent._all_captions_of(range(len(parent)))
        counts = np.fromiter((max(len(each), 1) for each in captions), np.int64, len(parent))
        self.max_pixels, self.max_seconds = parent.max_pixels, parent.max_seconds
        self._parent = parent
        self._rows = np.repeat(np.arange(len(parent)), counts)  # int64 [n]
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        self._places = np.arange(len(self._rows)) - starts  # int64 [n], among those of its row
        keys = zip(self._rows.tolist(), self._places.tolist(), strict=True)
        self._take_keys(KeyList.from_strings(f"{parent.keys[row]}#{place}" for row, place in keys))

    @property
    def source(self) -> Dataset:
        """The other data set."""
        return self._parent

    @property
    def picture_rows(self) -> np.ndarray:
        """The row of the other data set that each row is of, int64 [n], ascending."""
        return self._rows

    def source_rows(self) -> tuple[Dataset, np.ndarray]:
        raise UnsupportedError(
            "the data have a row for each caption, which cannot be packed or resharded; open them "
            "with row_per='picture'"
        )

    def counts(self) -> dict[str, int]:
        return {**self._parent.counts(), "rows": len(self), "pictures": len(self._parent)}

    def image_groups(self) -> np.ndarray | None:
        groups = self._parent.image_groups()
        return (np.arange(len(self._parent)) + 1 if groups is None else groups)[self._rows]

    def row_digests(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images, _ = self._parent.row_digests(self._rows[rows])
        return images, caption_digests(self._all_captions_of(rows.tolist()))

    def _read_captions(self, row: int) -> Sequence[str | None]:
        with self._as_own_row(row):
            return self._own(row, self._parent.captions(int(self._rows[row])))

    def _read_pair(self, row: int) -> tuple[Image.Image, tuple[str, ...]]:
        with self._as_own_row(row):
            image, captions = self._parent._read_pair(int(self._rows[row]))
            return image, tuple(self._own(row, captions))

    @contextlib.contextmanager
    def _as_own_row(self, row: int) -> Iterator[None]:
        """An error of the picture's row is one of this caption's."""
        try:
            yield
        except SampleError as error:
            if error.key == self.keys[row]:
                raise
            raise self._sample_error(row, error.reason, f"{error}") from error

    def _own(self, row: int, captions: Sequence[str]) -> Sequence[str]:
        place = int(self._places[row])
        if place >= len(captions):
            detail = f"its picture has {len(captions)} captions by now"
            raise self._sample_error(row, "missing_caption", detail)
        return captions[place : place + 1]
