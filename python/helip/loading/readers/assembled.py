"""Reads planned batches by threads of the native core, ahead of who asks for them.

Pictures are read, decoded and transformed without the GIL, straight into the tensor that becomes
``batch["image"]``; one Python thread reads and tokenises captions meanwhile. There are no worker
processes: nothing is pickled or copied between processes, and nothing starts anew with an epoch.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from helip.data.dataset import Dataset
from helip.data.image_transform import ImageTransform
from helip.data.picture_reader import PictureReader, Pictures
from helip.loading.readers.batch import PlannedBatch, ReadBatch, failure_of, renumbered
from helip.loading.readers.captions import CaptionReader


@dataclasses.dataclass
class _Work:
    """A batch on its way."""

    plan: PlannedBatch
    pictures: Pictures
    captions: Future[tuple[dict[int, Exception], Any, np.ndarray, int]]


class AssembledReader:
    """Turns plans into batches, up to ``ahead`` of them before they are asked for.

    Args:
        data: a data set that :func:`can_assemble` says yes to.
        transform: makes ``batch["image"]``.
        views: more transforms; where there are any, ``batch["views"]`` [v, b, ...] has their
            images, each with augmentations of its own.
        tokenizer: see CaptionReader.
        threads: of the core; 0 is one for each processor.
        ahead: batches that are begun before they are asked for.
        pin_memory: whether tensors lie in memory that a GPU copies from directly.
    """

    def __init__(
        self,
        data: Dataset,
        transform: ImageTransform,
        views: Sequence[ImageTransform],
        tokenizer: Callable[[list[str]], Any] | None,
        *,
        seed: int,
        threads: int,
        ahead: int,
        pin_memory: bool,
    ) -> None:
        self._data = data
        self._pictures = PictureReader(
            data, (transform, *views), seed=seed, threads=threads, pin_memory=pin_memory
        )
        self._captions = CaptionReader(data, tokenizer, seed)
        self._ahead = ahead
        self._reading = 0  # the number of the one iteration that may go on

    def read(self, plans: Iterable[PlannedBatch]) -> Generator[ReadBatch]:
        """Yields the batches of ``plans``, in their order. Ends an iteration that went before."""
        reads = self._read(plans)
        _UNDER_WAY.add(reads)
        return reads

    def _read(self, plans: Iterable[PlannedBatch]) -> Generator[ReadBatch]:
        self._pictures.start()
        self._reading += 1
        reading = self._reading
        waiting: deque[_Work] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="helip-captions") as helper:
            try:
                for plan in plans:
                    waiting.append(self._begin(plan, helper))
                    if len(waiting) > self._ahead:
                        yield self._finish(waiting.popleft(), helper)
                while waiting:
                    yield self._finish(waiting.popleft(), helper)
            finally:
                for work in waiting:
                    work.captions.cancel()
                # Nothing may write to tensors that are let go.
                if reading == self._reading:
                    self._pictures.clear()

    def _begin(self, plan: PlannedBatch, helper: ThreadPoolExecutor) -> _Work:
        pictures = self._pictures.begin(plan.index, plan.epoch)
        captions = helper.submit(self._captions.read, plan.index.tolist(), plan.epoch)
        return _Work(plan, pictures, captions)

    def _finish(self, work: _Work, helper: ThreadPoolExecutor) -> ReadBatch:
        plan = work.plan
        errors = self._pictures.wait(work.pictures)
        unread, text, groups, drawn = work.captions.result()
        failed = unread | errors
        kept = [place for place in range(len(plan.index)) if place not in failed]
        if kept and len(failed) > len(unread):  # captions whose images failed go as well
            again = helper.submit(self._captions.read, plan.index[kept].tolist(), plan.epoch)
            unread, text, groups, drawn = again.result()
            failed |= {kept[number]: error for number, error in unread.items()}
            kept = [place for number, place in enumerate(kept) if number not in unread]
        failures = [
            failure_of(self._data, int(plan.index[place]), failed[place])
            for place in sorted(failed)
        ]
        batch = _batch(work, kept, text, groups) if kept else None
        return ReadBatch(plan.step, batch, plan.planned, failures, drawn if kept else 0)


# Iterations that live as long as the program are closed when it ends: later the names of modules
# that closing needs are gone.
_UNDER_WAY: weakref.WeakSet[Generator[ReadBatch]] = weakref.WeakSet()


@atexit.register
def _close_what_is_under_way() -> None:
    for reads in list(_UNDER_WAY):
        with contextlib.suppress(ValueError):  # a daemon thread runs it
            reads.close()


def _batch(work: _Work, kept: list[int], text: Any, groups: np.ndarray) -> dict[str, Any]:
    plan, views = work.plan, work.pictures.views
    if len(kept) < len(plan.index):
        views = [view[kept] for view in views]
    batch = {
        "image": views[0],
        "text": text,
        "caption_group": torch.from_numpy(groups),
        "index": torch.from_numpy(plan.index[kept]),
        "target": torch.from_numpy(renumbered(plan.target, kept)),
    }
    if len(views) > 1:
        batch["views"] = torch.stack(views[1:])
    return batch
