"""Reads the pictures and captions of rows for a model: by threads of the core, or by Pillow."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from helip.common.errors import SampleError
from helip.data.captions import captions_of
from helip.data.dataset import read_ahead, start_method
from helip.data.image_transform import ImageTransform
from helip.data.picture_reader import PictureReader, Pictures
from helip.evaluation.statistics.intervals import Ints

AHEAD = 1  # batches that the core begins before they are asked for


@dataclass
class ReadRows:
    """A batch of rows as they were read."""

    rows: int
    pictures: list[int] = field(default_factory=list)  # rows whose picture is in pixels
    pixels: torch.Tensor | None = None  # [len(pictures), 3, height, width]
    captions: dict[int, Sequence[str]] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)  # row -> why it cannot be used


@dataclass(frozen=True, kw_only=True)
class RowReader:
    """Reads ``rows`` of ``data``, batch by batch.

    ``pictures`` int64 [N] is the row whose picture each row shows; that row alone has it read.
    ``core`` is the transform of the core's reader; None: Pillow reads, and ``transform`` follows.
    """

    data: Any
    rows: Ints
    pictures: Ints
    captions: bool
    transform: Any
    core: ImageTransform | None
    batch_size: int
    workers: int

    def __iter__(self) -> Iterator[ReadRows]:
        return self._by_pillow() if self.core is None else self._by_core(self.core)

    def _by_pillow(self) -> Iterator[ReadRows]:
        reader: Any = torch.utils.data.DataLoader(
            _Rows(self),
            batch_size=self.batch_size,
            num_workers=self.workers,
            multiprocessing_context=start_method(self.data, self.workers),
            collate_fn=list,
        )
        for batch in reader:
            pixels = [(row, tensor) for row, tensor, _, _ in batch if tensor is not None]
            yield ReadRows(
                len(batch),
                [row for row, _ in pixels],
                torch.stack([tensor for _, tensor in pixels]) if pixels else None,
                {row: captions for row, _, captions, _ in batch if captions},
                {row: why[0] for row, _, _, why in batch if why},
            )

    def _by_core(self, transform: ImageTransform) -> Iterator[ReadRows]:
        reader = PictureReader(self.data, [transform], threads=self.workers)
        reader.start()
        waiting: deque[tuple[Ints, Ints, Pictures]] = deque()
        try:
            for first in range(0, len(self.rows), self.batch_size):
                rows = self.rows[first : first + self.batch_size]
                shown = rows[self.pictures[rows] == rows]
                waiting.append((rows, shown, reader.begin(shown)))
                if len(waiting) > AHEAD:
                    yield self._finished(reader, *waiting.popleft())
            while waiting:
                yield self._finished(reader, *waiting.popleft())
        finally:
            reader.clear()

    def _finished(
        self, reader: PictureReader, rows: Ints, shown: Ints, begun: Pictures
    ) -> ReadRows:
        captions, unread = {}, {}
        for row in rows.tolist() if self.captions else ():
            try:
                captions[row] = captions_of(self.data, row)
            except SampleError as error:
                unread[row] = str(error.reason)
        errors = reader.wait(begun)
        kept = [place for place in range(len(shown)) if place not in errors]
        pixels = begun.views[0][kept] if errors else begun.views[0]
        failed = {int(shown[place]): str(error.reason) for place, error in errors.items()}
        return ReadRows(
            len(rows), shown[kept].tolist(), pixels if kept else None, captions, unread | failed
        )


class _Rows(torch.utils.data.Dataset[Any]):
    """Reads one row by Pillow: (row, pixels | None, its captions, reasons)."""

    def __init__(self, reader: RowReader) -> None:
        self.reader = reader

    def __len__(self) -> int:
        return len(self.reader.rows)

    def __getitems__(self, items: list[int]) -> list[Any]:
        coming = read_ahead(self.reader.data, self.reader.rows[items].tolist())
        return [self[item] for item, _ in zip(items, coming, strict=True)]

    def __getitem__(self, item: int) -> tuple[int, torch.Tensor | None, Sequence[str], list[str]]:
        reader = self.reader
        row = int(reader.rows[item])
        pixels, reasons = None, []
        captions: Sequence[str] = ()
        if reader.pictures[row] == row:
            try:
                pixels = reader.transform(reader.data.image(row))
            except SampleError as error:
                reasons.append(error.reason)
        if reader.captions:
            try:
                captions = captions_of(reader.data, row)
            except SampleError as error:
                reasons.append(error.reason)
        return row, pixels, captions, reasons
