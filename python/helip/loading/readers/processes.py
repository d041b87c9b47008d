"""Reads planned batches in worker processes, which stay from epoch to epoch, or in this one."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from helip.data.dataset import start_method
from helip.loading.readers.batch import BatchPlan, BatchReader, ReadBatch


class ProcessReads:
    """torch's DataLoader over plans.

    Args:
        reader: makes a batch of a plan; goes to every process.
        workers: processes; 0 reads in this one.
        prefetch: batches that each of them makes ahead.
        pin_memory: whether tensors are moved to memory that a GPU copies from directly.
    """

    def __init__(
        self, reader: BatchReader, workers: int, prefetch: int, pin_memory: bool = False
    ) -> None:
        self._plans = _CurrentPlans()
        self._loader: DataLoader[Any] = DataLoader(
            reader,
            sampler=self._plans,
            batch_size=None,  # one plan in, one batch out
            num_workers=workers,
            multiprocessing_context=start_method(reader.data, workers),
            prefetch_factor=prefetch if workers else None,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            # A generator of its own: DataLoader would draw from the caller's random state.
            generator=torch.Generator(),
        )

    def read(self, plans: Sampler[BatchPlan]) -> Generator[ReadBatch]:
        """Yields the batches of ``plans``, in their order."""
        self._plans.plans = plans
        yield from self._loader


class _CurrentPlans(Sampler[BatchPlan]):
    """The plans of the iteration that runs."""

    plans: Sampler[BatchPlan]

    def __iter__(self) -> Iterator[BatchPlan]:
        return iter(self.plans)
