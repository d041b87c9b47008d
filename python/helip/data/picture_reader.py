"""Reads the pictures of rows by threads of the native core, ahead of who asks for them.

They are read, decoded and transformed without the GIL, straight into tensors; what the core has no
decoder for is read by Pillow, in threads beside the core's.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import numpy as np
import torch

from helip import _core
from helip.common.errors import InvalidArgumentError, SampleError
from helip.common.lasting_threads import LastingThreads
from helip.common.machine import core_threads
from helip.data.dataset import Dataset
from helip.data.image_transform import ImageTransform, core_transform
from helip.data.options import Reader

# Pillow lets go of the GIL while it decodes, but not while it copies pixels.
_MOST_THREADS = 8
# How long a thread waits for a picture of its batch, and so how long it holds back the end of a
# program.
_PATIENCE = 0.1
_PICTURES = 8  # that a thread decodes before it asks whether the program ends

_AHEAD = 1  # batches that are begun before they are asked for

Outcome = SampleError | Exception | None
B = TypeVar("B")


@dataclasses.dataclass
class SideWork:
    """What Pillow does of one batch."""

    ticket: int
    decode: Callable[[int], SampleError | None]  # of a place; fills it, or tells what is wrong
    outcomes: dict[int, Outcome] = dataclasses.field(default_factory=dict)  # by place
    tasks: list[Future[None]] = dataclasses.field(default_factory=list)
    claimed: set[int] = dataclasses.field(default_factory=set)  # places that are done, or will be
    helpers: int = 0  # threads that look for places, or will
    dropped: bool = False


class PillowThreads:
    """Threads that fill places of batches which the core found "unsupported_format".

    One is started with the first batch, the others when there are pictures for them, as many as the
    core has and at most 8; each holds one picture.

    Args:
        assembler: the core's reader, which names the places.
    """

    def __init__(self, assembler: Any) -> None:
        self._take = assembler.take_unsupported
        self._threads = min(assembler.threads, _MOST_THREADS)
        self._pool = LastingThreads(self._threads, "helip-pillow")
        self._lock = threading.Lock()
        self._begun: dict[int, SideWork] = {}

    def begin(self, ticket: int, decode: Callable[[int], SampleError | None]) -> SideWork:
        """Begin with the batch of a ticket; ``decode`` is called from the threads."""
        work = self._begun[ticket] = SideWork(ticket, decode)
        self._add_task(work)
        return work

    def finish(self, work: SideWork, places: Iterable[int]) -> dict[int, SampleError]:
        """Wait until ``places`` are done, all that there are; what is wrong with each that failed.

        The core has finished the batch. Raises what ``decode`` raised for the first place, other
        than SampleError.
        """
        for place in places:  # from now on the core names none
            if place not in work.claimed:
                work.tasks.append(self._pool.submit(self._decode, work, place))
        _wait_for(work)
        del self._begun[work.ticket]
        errors = {}
        for place, outcome in sorted(work.outcomes.items()):
            if isinstance(outcome, SampleError):
                errors[place] = outcome
            elif outcome is not None:
                raise outcome
        return errors

    def clear(self) -> None:
        """Drop every batch. Afterwards no thread calls a ``decode`` of theirs."""
        for work in self._begun.values():
            work.dropped = True
        for work in self._begun.values():
            _wait_for(work)
        self._begun.clear()

    def _add_task(self, work: SideWork) -> None:
        with self._lock:
            if work.helpers < self._threads:
                work.tasks.append(self._pool.submit(self._help, work))
                work.helpers += 1

    def _help(self, work: SideWork) -> None:
        for _ in range(_PICTURES):
            place = -1 if work.dropped else self._take(work.ticket, _PATIENCE)
            if place is None:
                break
            if place < 0:
                return
            self._add_task(work)  # there may be more
            self._decode(work, place)
        # Behind what else there is to do; refused when the program ends.
        work.tasks.append(self._pool.submit(self._help, work))

    def _decode(self, work: SideWork, place: int) -> None:
        with self._lock:
            if work.dropped or place in work.claimed:
                return
            work.claimed.add(place)
        try:
            work.outcomes[place] = work.decode(place)
        except Exception as error:
            work.outcomes[place] = error


def _wait_for(work: SideWork) -> None:
    while work.tasks:  # a task adds the next before it ends
        wait(work.tasks[:1])
        work.tasks.pop(0)


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


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures on their way."""

    index: np.ndarray  # int64 [b] rows
    epoch: int
    ticket: int
    views: list[torch.Tensor]
    """One a transform, [b, ...]; being written to until they are waited for."""
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
