"""Who reads a batch: threads of the native core where they can, else worker processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from helip.data.dataset import start_method
from helip.data.image_transform import ImageTransform
from helip.data.picture_reader import can_assemble
from helip.loading.options import ReadOptions
from helip.loading.readers.assembled import AssembledReader
from helip.loading.readers.batch import BatchReader, PlannedBatch, ReadBatch
from helip.loading.views import TwoViews


def choose_reads(
    data: Any,
    transform: Any,
    tokenizer: Any,
    seed: int,
    options: ReadOptions,
) -> Callable[[Any], Generator[ReadBatch]]:
    """What turns plans into batches."""
    workers = options.workers
    views: tuple[ImageTransform, ...] = ()
    if isinstance(transform, TwoViews) and can_assemble(data, transform.transform):
        again = transform.ssl_transform
        if isinstance(again, ImageTransform):
            transform, views = transform.transform, (again, again)
    if can_assemble(data, transform):
        return AssembledReader(
            data,
            transform,
            views,
            tokenizer,
            seed=seed,
            threads=workers or 0,
            ahead=0 if workers == 0 else options.prefetch,
            pin_memory=bool(options.pin_memory),
        ).read
    return _by_processes(BatchReader(data, transform, tokenizer, seed), options)


def _by_processes(
    reader: BatchReader, options: ReadOptions
) -> Callable[[Any], Generator[ReadBatch]]:
    """torch's DataLoader over plans: worker processes, which stay from epoch to epoch, or none."""
    workers, current = options.workers or 0, _CurrentPlans()
    loader: DataLoader[Any] = DataLoader(
        reader,
        sampler=current,
        batch_size=None,  # one plan in, one batch out
        num_workers=workers,
        multiprocessing_context=start_method(reader.data, workers),
        prefetch_factor=options.prefetch if workers else None,
        persistent_workers=workers > 0,
        pin_memory=bool(options.pin_memory),
        # A generator of its own: DataLoader would draw from the caller's random state.
        generator=torch.Generator(),
    )

    def read(plans: Sampler[PlannedBatch]) -> Generator[ReadBatch]:
        current.plans = plans
        yield from loader

    return read


class _CurrentPlans(Sampler[PlannedBatch]):
    """The plans of the iteration that runs."""

    plans: Sampler[PlannedBatch]

    def __iter__(self) -> Iterator[PlannedBatch]:
        return iter(self.plans)
