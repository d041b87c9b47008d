"""Reads the pictures of rows by threads of the native core, ahead of who asks for them.

They are read, decoded and transformed without the GIL, straight into tensors; what the core has no
decoder for is read by Pillow, in threads beside the core's.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from helip import _core
from helip.common.errors import SampleError
from helip.common.machine import core_threads
from helip.data.dataset import Dataset
from helip.data.image_transform import ImageTransform
from helip.data.pillow_threads import PillowThreads, SideWork


def can_assemble(data: Any, transform: Any) -> bool:
    """Whether the core can read this data set's images and do this transform."""
    return isinstance(transform, ImageTransform) and can_read(data)


def can_read(data: Any) -> bool:
    """Whether the core can read this data set's images."""
    return isinstance(data, Dataset) and data._image_source() is not None


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures on their way."""

    index: np.ndarray  # int64 [b] rows
    epoch: int
    ticket: int
    views: list[
        torch.Tensor
    ]  # one a transform, [b, ...]; being written to until they are waited for
    side_work: SideWork  # what Pillow does of them


class PictureReader:
    """Reads pictures of a data set that :func:`can_assemble` says yes to.

    Args:
        transforms: each makes a tensor of its own of every picture.
        seed: of their augmentations.
        threads: of the core; 0 is one for each processor, or what `core_threads` says.
        pin_memory: whether tensors lie in memory that a GPU copies from directly.
    """

    def __init__(
        self,
        data: Dataset,
        transforms: Sequence[ImageTransform],
        *,
        seed: int = 0,
        threads: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self._data = data
        self._transforms = [
            dataclasses.replace(
                each,
                max_pixels=min(each.max_pixels, data.max_pixels),
                max_seconds=min(each.max_seconds, data.max_seconds),
            )
            for each in transforms
        ]
        self._seed, self._threads, self._pin_memory = seed, threads, pin_memory
        self._home = -1  # the process whose threads they are
        self._assembler: Any = None
        self._pillow: Any = None
        self._rows: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {
            "_home": -1,
            "_assembler": None,
            "_pillow": None,
            "_rows": None,
        }

    def start(self) -> None:
        """Make ready in this process; what was begun before is let go."""
        if self._home == os.getpid():
            self.clear()
            return
        found = self._data._image_source()
        assert found is not None, "can_assemble was asked first"
        source, self._rows = found
        self._assembler = _core.BatchAssembler(
            source,
            [transform._core for transform in self._transforms],
            seed=self._seed,
            threads=core_threads(self._threads),
        )
        self._pillow = PillowThreads(self._assembler)
        self._home = os.getpid()

    def clear(self) -> None:
        """Let go what was begun and not waited for; then nothing writes to its tensors."""
        if self._home == os.getpid():
            self._assembler.clear()
            self._pillow.clear()

    def time(self) -> tuple[float, float]:
        """Seconds that the core's threads took since :meth:`start`, all together: to read the bytes
        of pictures, and to decode and transform them."""
        return self._assembler.time() if self._home == os.getpid() else (0.0, 0.0)

    def begin(self, index: np.ndarray, epoch: int = 0) -> Pictures:
        """Begin to read the rows ``index`` int64 [b]; :meth:`start` was called."""
        rows = index if self._rows is None else self._rows[index]
        views = [
            torch.empty(
                (len(rows), *transform.shape),
                dtype=getattr(torch, str(transform.dtype)),
                pin_memory=self._pin_memory,
            )
            for transform in self._transforms
        ]
        ticket = self._assembler.submit(rows, index, epoch, [view.data_ptr() for view in views])
        work = self._pillow.begin(
            ticket, lambda place: self._decode_by_pillow(int(index[place]), epoch, place, views)
        )
        return Pictures(index, epoch, ticket, views, work)

    def wait(self, pictures: Pictures) -> dict[int, SampleError]:
        """Wait until they are read; what is wrong with each place that could not be."""
        errors: dict[int, SampleError] = {}
        unsupported = []
        for place, reason, message in self._assembler.wait(pictures.ticket):
            if reason == "unsupported_format":
                unsupported.append(place)
            else:
                errors[place] = self._error_of(int(pictures.index[place]), reason, message)
        return errors | self._pillow.finish(pictures.side_work, unsupported)

    def _error_of(self, row: int, reason: str, message: str) -> SampleError:
        source_row = row if self._rows is None else int(self._rows[row])
        named = f"sample '{self._data.keys[row]}' (row {source_row}): "
        return self._data._sample_error(row, reason, message.removeprefix(named))

    def _decode_by_pillow(
        self, row: int, epoch: int, place: int, views: list[torch.Tensor]
    ) -> SampleError | None:
        """Fills a place of the views. Returns what is wrong, if anything."""
        key: dict[str, Any] = {"seed": self._seed, "epoch": epoch, "row": row}
        try:
            image = self._data.image(row)
            # Who began may be in this mode, whose tensors nobody else may write to; others may be
            # written to in it.
            with torch.inference_mode():
                for number, transform in enumerate(self._transforms):
                    views[number][place] = transform.from_image(image, **key, view=number)
        except SampleError as error:
            if error.key:
                return error
            return self._data._sample_error(row, str(error.reason), str(error))
        return None
