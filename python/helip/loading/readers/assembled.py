"""Reads planned batches by threads of the native core, ahead of who asks for them.

Pictures are read, decoded and transformed without the GIL, straight into the tensor that becomes
``batch["image"]``; one Python thread reads and tokenises captions meanwhile. There are no worker
processes: nothing is pickled or copied between processes, and nothing starts anew with an epoch.
"""

from __future__ import annotations

import dataclasses
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from helip import _core
from helip.common.errors import SampleError
from helip.data.dataset import Dataset
from helip.data.image_transform import ImageTransform
from helip.loading.readers.batch import BatchPlan, ReadBatch, failure_of, renumbered
from helip.loading.readers.captions import CaptionReader


def can_assemble(data: Any, transform: Any) -> bool:
    """Whether the core can read this data set's images and do this transform."""
    return (
        isinstance(transform, ImageTransform)
        and isinstance(data, Dataset)
        and data._image_source() is not None
    )


@dataclasses.dataclass
class _Work:
    """A batch on its way."""

    plan: BatchPlan
    ticket: int
    views: list[torch.Tensor]  # each [b, ...]; being written to
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
        self._transforms = [
            dataclasses.replace(each, max_pixels=min(each.max_pixels, data.max_pixels))
            for each in (transform, *views)
        ]
        self._captions = CaptionReader(data, tokenizer, seed)
        self._seed, self._threads, self._ahead = seed, threads, ahead
        self._pin_memory = pin_memory
        self._home = -1  # the process whose threads they are
        self._assembler: Any = None
        self._rows: np.ndarray | None = None
        self._reading = 0  # the number of the one iteration that may go on

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_home": -1, "_assembler": None, "_rows": None}

    def read(self, plans: Iterable[BatchPlan]) -> Generator[ReadBatch]:
        """Yields the batches of ``plans``, in their order. Ends an iteration that went before."""
        self._start()
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
                if reading == self._reading and self._home == os.getpid():
                    self._assembler.clear()

    def _start(self) -> None:
        if self._home == os.getpid():
            self._assembler.clear()
            return
        found = self._data._image_source()
        assert found is not None, "can_assemble was asked first"
        source, self._rows = found
        self._assembler = _core.BatchAssembler(
            source,
            [transform._core for transform in self._transforms],
            seed=self._seed,
            threads=self._threads,
        )
        self._home = os.getpid()

    def _begin(self, plan: BatchPlan, helper: ThreadPoolExecutor) -> _Work:
        rows = plan.index if self._rows is None else self._rows[plan.index]
        views = [
            torch.empty(
                (len(rows), *transform.shape),
                dtype=getattr(torch, str(transform.dtype)),
                pin_memory=self._pin_memory,
            )
            for transform in self._transforms
        ]
        ticket = self._assembler.submit(
            rows, plan.index, plan.epoch, [view.data_ptr() for view in views]
        )
        captions = helper.submit(self._captions.read, plan.index.tolist(), plan.epoch)
        return _Work(plan, ticket, views, captions)

    def _finish(self, work: _Work, helper: ThreadPoolExecutor) -> ReadBatch:
        plan = work.plan
        errors: dict[int, Exception] = {}
        for place, reason, message in self._assembler.wait(work.ticket):
            error = self._decode_otherwise(work, place, reason, message)
            if error is not None:
                errors[place] = error
        unread, text, groups, drawn = work.captions.result()
        failed = unread | errors
        kept = [place for place in range(len(plan.index)) if place not in failed]
        if kept and len(failed) > len(unread):  # captions whose images failed go as well
            again = helper.submit(self._captions.read, plan.index[kept].tolist(), plan.epoch)
            _, text, groups, drawn = again.result()
        failures = [
            failure_of(self._data, int(plan.index[place]), failed[place])
            for place in sorted(failed)
        ]
        batch = _batch(work, kept, text, groups) if kept else None
        return ReadBatch(plan.step, batch, plan.planned, failures, drawn if kept else 0)

    def _decode_otherwise(
        self, work: _Work, place: int, reason: str, message: str
    ) -> Exception | None:
        """Lets Pillow try what the core has no decoder for. Returns what is wrong, if anything."""
        row = int(work.plan.index[place])
        if reason != "unsupported_format":
            source_row = row if self._rows is None else int(self._rows[row])
            named = f"sample '{self._data.keys[row]}' (row {source_row}): "
            return self._data._sample_error(row, reason, message.removeprefix(named))
        key: dict[str, Any] = {"seed": self._seed, "epoch": work.plan.epoch, "row": row}
        try:
            image = self._data.image(row)
            for number, transform in enumerate(self._transforms):
                work.views[number][place] = transform.from_image(image, **key, view=number)
        except MemoryError:
            raise
        except SampleError as error:
            return error
        return None


def _batch(work: _Work, kept: list[int], text: Any, groups: np.ndarray) -> dict[str, Any]:
    plan, views = work.plan, work.views
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
