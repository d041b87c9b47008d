"""Reads the pictures of rows by threads of the native core, ahead of who asks for them.

They are read, decoded and transformed without the GIL, straight into tensors; what the core has no
decoder for is read by Pillow, in threads beside the core's.
"""

from __future__ import annotations

import dataclasses
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import numpy as np
import torch

from helip import _core
from helip.common.errors import InvalidArgumentError, SampleError
from helip.common.lasting_threads import LastingThreads
from helip.common.machine import core_threads
from helip.data.captions import captions_of
from helip.data.dataset import Dataset, read_ahead
from helip.data.image_transform import ImageTransform, core_transform
from helip.data.options import Reader

# Pillow lets go of the GIL while it decodes, but not while it copies pixels.
_MOST_THREADS = 8
# How long a thread waits for a picture of its batch before it looks at other batches, and so how
# long it holds back the end of a program.
_PATIENCE = 0.1
_PICTURES = 8  # that a thread reads before it does so
_AHEAD = 1  # batches that are begun before they are asked for

B = TypeVar("B")


def can_assemble(data: Any, transform: Any) -> bool:
    """Whether the core can read this data set's images and do this transform."""
    return isinstance(transform, ImageTransform) and can_read(data)


def can_read(data: Any) -> bool:
    """Whether the core can read this data set's images."""
    return isinstance(data, Dataset) and data._image_source() is not None


def chosen_core(reader: Reader, data: Any, transform: Any) -> ImageTransform | None:
    """The core's transform where ``reader`` and what is read allow it; None where Pillow reads.

    Raises InvalidArgumentError where the core is asked for and cannot.
    """
    found = None if reader == "pillow" else core_transform(transform)
    usual = found is not None and found.layout == "nchw" and found.dtype != "uint8"
    if not (usual and can_read(data)):
        found = None
    if reader == "core" and found is None:
        why = (
            f"the pictures of {type(data).__name__} are not files or members of tar shards"
            if not can_read(data)
            else "the transform is neither one of torchvision that resizes the shorter side, cuts "
            "a square out of the centre and normalises, nor an ImageTransform to float32 [3, "
            "height, width]"
        )
        raise InvalidArgumentError(f"reader is 'core', and {why}; give reader='auto' or 'pillow'")
    return found


@dataclasses.dataclass
class Pictures:
    """Pictures on their way."""

    index: np.ndarray  # int64 [b] rows
    epoch: int
    ticket: int
    views: list[torch.Tensor]
    """One a transform, [b, ...]; being written to until they are waited for."""
    outcomes: dict[int, Exception | None] = dataclasses.field(default_factory=dict)
    """By place, of those that Pillow has read: what was wrong."""
    taken: dict[int, object] = dataclasses.field(default_factory=dict)
    """By place, of those that a thread has begun with: what marks the thread."""
    tasks: list[Future[None]] = dataclasses.field(default_factory=list)
    helpers: int = 0
    """Threads that look for pictures of it, or will."""
    dropped: bool = False

    def finish(self) -> None:
        """Wait for its tasks, each of which may add the next."""
        while self.tasks:
            wait(self.tasks[:1])
            self.tasks.pop(0)


def _room(shape: tuple[int, ...], dtype: str, *, pinned: bool) -> torch.Tensor:
    """A tensor that is not initialised. NumPy asks for huge pages, which torch does not: of small
    ones a batch has ten thousand, and each is given by the kernel when it is first written to."""
    kind: torch.dtype = getattr(torch, dtype)
    if pinned:
        return torch.empty(shape, dtype=kind, pin_memory=True)
    return (
        torch.from_numpy(np.empty(math.prod(shape) * kind.itemsize, np.uint8))
        .view(kind)
        .view(shape)
    )


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
        self._rows: np.ndarray | None = None
        self._begun: dict[int, Pictures] = {}

    def __getstate__(self) -> dict[str, Any]:
        gone: dict[str, Any] = dict.fromkeys(("_assembler", "_pillow", "_rows"))
        return self.__dict__ | gone | {"_home": -1, "_begun": {}}

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
        self._helpers = min(self._assembler.threads, _MOST_THREADS)
        self._pillow = LastingThreads(self._helpers, "helip-pillow")
        self._begun = {}
        self._home = os.getpid()

    def clear(self) -> None:
        """Let go what was begun and not waited for; then nothing writes to its tensors."""
        if self._home == os.getpid():
            self._assembler.clear()
            for pictures in self._begun.values():
                pictures.dropped = True
            for pictures in self._begun.values():
                pictures.finish()
            self._begun.clear()

    def time(self) -> tuple[float, float]:
        """Seconds that the core's threads took since :meth:`start`, all together: to read the bytes
        of pictures, and to decode and transform them."""
        return self._assembler.time() if self._home == os.getpid() else (0.0, 0.0)

    def begin(self, index: np.ndarray, epoch: int = 0) -> Pictures:
        """Begin to read the rows ``index`` int64 [b]; :meth:`start` was called."""
        rows = index if self._rows is None else self._rows[index]
        views = [
            _room((len(rows), *transform.shape), str(transform.dtype), pinned=self._pin_memory)
            for transform in self._transforms
        ]
        ticket = self._assembler.submit(rows, index, epoch, [view.data_ptr() for view in views])
        pictures = self._begun[ticket] = Pictures(index, epoch, ticket, views)
        self._add_helper(pictures)
        return pictures

    def read(
        self, batches: Iterable[B], rows_of: Callable[[B], np.ndarray]
    ) -> Generator[tuple[B, Pictures], None, None]:
        """Each batch with its pictures, which :meth:`wait` waits for; those of the next batch are
        begun before."""
        self.start()
        begun: deque[tuple[B, Pictures]] = deque()
        try:
            for batch in batches:
                begun.append((batch, self.begin(rows_of(batch))))
                if len(begun) > _AHEAD:
                    yield begun.popleft()
            while begun:
                yield begun.popleft()
        finally:
            self.clear()

    def wait(self, pictures: Pictures) -> dict[int, SampleError]:
        """Wait until they are read; what is wrong with each place that could not be."""
        errors: dict[int, SampleError] = {}
        unsupported = []
        for place, reason, message in self._assembler.wait(pictures.ticket):
            if reason == "unsupported_format":
                unsupported.append(place)
            else:
                errors[place] = self._error_of(int(pictures.index[place]), reason, message)
        # Those that no thread has taken: from now on the core names none.
        for place in unsupported:
            pictures.tasks.append(self._pillow.submit(self._read_by_pillow, pictures, place))
        pictures.finish()
        del self._begun[pictures.ticket]
        for place, outcome in sorted(pictures.outcomes.items()):
            if isinstance(outcome, SampleError):
                errors[place] = outcome
            elif outcome is not None:
                raise outcome
        return errors

    def _add_helper(self, pictures: Pictures) -> None:
        """One more thread for them, where there may be work for it."""
        if pictures.helpers < self._helpers:
            pictures.helpers += 1
            pictures.tasks.append(self._pillow.submit(self._read_unsupported, pictures))

    def _read_unsupported(self, pictures: Pictures) -> None:
        """Read by Pillow what the core finds "unsupported_format", until it has done the batch."""
        for _ in range(_PICTURES):
            dropped = pictures.dropped
            place = -1 if dropped else self._assembler.take_unsupported(pictures.ticket, _PATIENCE)
            if place is None:
                break
            if place < 0:
                return
            self._add_helper(pictures)  # there may be more
            self._read_by_pillow(pictures, place)
        # Behind what else there is to do; refused when the program ends.
        pictures.tasks.append(self._pillow.submit(self._read_unsupported, pictures))

    def _error_of(self, row: int, reason: str, message: str) -> SampleError:
        source_row = row if self._rows is None else int(self._rows[row])
        named = f"sample '{self._data.keys[row]}' (row {source_row}): "
        return self._data._sample_error(row, reason, message.removeprefix(named))

    def _read_by_pillow(self, pictures: Pictures, place: int) -> None:
        """Fills a place of the views, or notes what is wrong; nothing where another thread does."""
        own = object()
        if pictures.dropped or pictures.taken.setdefault(place, own) is not own:
            return
        row = int(pictures.index[place])
        key: dict[str, Any] = {"seed": self._seed, "epoch": pictures.epoch, "row": row}
        outcome: Exception | None = None
        try:
            image = self._data.image(row)
            # Who began may be in this mode, whose tensors nobody else may write to; others may be
            # written to in it.
            with torch.inference_mode():
                for number, transform in enumerate(self._transforms):
                    pixels = transform.from_image(image, **key, view=number)
                    pictures.views[number][place] = pixels
        except SampleError as error:
            outcome = error
            if not error.key:
                outcome = self._data._sample_error(row, str(error.reason), str(error))
        except Exception as error:
            outcome = error
        pictures.outcomes[place] = outcome


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
