"""Reads the rows that a batch sampler planned, in a worker process or in this one.

A row that cannot be read is reported, never fatal, and an augmentation depends on the seed, the
epoch and the row alone, wherever it runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from helip.common.errors import InvalidArgumentError, SampleError
from helip.data.captions import caption_group
from helip.data.dataset import read_ahead
from helip.loading.readers.captions import drawn_caption
from helip.loading.views import TwoViews, split_views


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """The rows of one batch, on their way to a worker."""

    epoch: int
    step: int
    index: np.ndarray  # int64 [b]
    target: np.ndarray  # int64 [b]
    planned: dict[str, int]  # what the sampler counted for this batch


@dataclasses.dataclass(frozen=True)
class ReadBatch:
    """What a worker made of a plan."""

    step: int
    batch: dict[str, Any] | None  # None: not one row could be read
    planned: dict[str, int]
    failures: list[dict[str, Any]]  # row, key, reason, message
    drawn: int = 0  # rows of the batch whose caption is one of several
    # Of a worker process: its number, and what it has had of the cache on disk until then.
    cache: tuple[int, dict[str, int]] | None = None

    def pin_memory(self) -> ReadBatch:
        """As torch's DataLoader asks for it: its tensors in page-locked memory."""
        if self.batch is None:
            return self
        pinned = {
            name: value.pin_memory() if isinstance(value, torch.Tensor) else value
            for name, value in self.batch.items()
        }
        return dataclasses.replace(self, batch=pinned)


class BatchReader(Dataset[ReadBatch]):
    """Turns a plan into a batch; lives in the workers."""

    def __init__(
        self,
        data: Any,
        transform: Callable[[Any], Any] | None,
        tokenizer: Callable[[list[str]], Any] | None,
        seed: int,
    ) -> None:
        self.data, self._transform, self._tokenizer = data, transform, tokenizer
        self._seed = seed

    def __getitem__(self, plan: PlannedBatch) -> ReadBatch:
        kept: list[int] = []
        images: list[Any] = []
        texts: list[str] = []
        several = 0
        failures: list[dict[str, Any]] = []
        # A worker's random state is its own; the consumer's, without workers, is put back.
        with contextlib.nullcontext() if get_worker_info() else _random_state_kept():
            for place, row in enumerate(read_ahead(self.data, plan.index.tolist())):
                try:
                    image, captions = self._sample(row, plan.epoch)
                except MemoryError:
                    raise  # the machine's fault, not the sample's
                except Exception as error:
                    failures.append(failure_of(self.data, row, error))
                else:
                    kept.append(place)
                    images.append(image)
                    texts.append(drawn_caption(captions, self._seed, plan.epoch, row))
                    several += len(captions) > 1
            batch = self._collate(plan, kept, images, texts) if kept else None
        cache = (os.getpid(), cache_counts_of(self.data)) if get_worker_info() else None
        return ReadBatch(plan.step, batch, plan.planned, failures, several, cache)

    def _sample(self, row: int, epoch: int) -> tuple[Any, Sequence[str]]:
        sample = self.data[row]
        image, captions = sample["image"], sample.get("captions") or (sample["text"],)
        if self._transform is None:
            return image, captions
        _seed_random_state(self._seed, epoch, row)
        try:
            return self._transform(image), captions
        except MemoryError:
            raise
        except Exception as error:
            raise _TransformError(f"{type(error).__name__}: {error}") from error

    def _collate(
        self, plan: PlannedBatch, kept: list[int], images: list[Any], texts: list[str]
    ) -> dict[str, Any]:
        stacked: Any = images
        if all(isinstance(image, torch.Tensor) for image in images):
            shapes = {tuple(image.shape) for image in images}
            if len(shapes) > 1:
                raise InvalidArgumentError(
                    f"transform gives images of shapes {sorted(shapes)}, which make no batch; let "
                    "it resize or crop to one shape"
                )
            stacked = torch.stack(images)
        # One transform makes all three looks at an image, as one tensor.
        three = isinstance(self._transform, TwoViews)
        return {
            **(split_views(stacked) if three else {"image": stacked}),
            "text": texts if self._tokenizer is None else self._tokenizer(texts),
            "caption_group": torch.tensor(list(map(caption_group, texts)), dtype=torch.int64),
            "index": torch.from_numpy(plan.index[kept]),
            "target": torch.from_numpy(renumbered(plan.target, kept)),
        }


def cache_counts_of(data: Any) -> dict[str, int]:
    """`helip.Dataset.cache_counts` of this process; empty for a data set that has none."""
    counts: dict[str, int] = getattr(data, "cache_counts", dict)()
    return counts


class _TransformError(Exception):
    """The transform failed on one image."""


def failure_of(data: Any, row: int, error: Exception) -> dict[str, Any]:
    """How the account names a row that could not be read."""
    if isinstance(error, SampleError):
        reason, message = str(error.reason), str(error)
    elif isinstance(error, _TransformError):
        reason, message = "transform", str(error)
    else:
        reason, message = "error", f"{type(error).__name__}: {error}"
    return {"row": row, "key": str(data.keys[row]), "reason": reason, "message": message}


def renumbered(target: np.ndarray, kept: list[int]) -> np.ndarray:
    """``target`` [b] for the kept places [n] alone; one whose target is gone serves itself."""
    place_of = np.full(len(target), -1, dtype=np.int64)
    place_of[kept] = np.arange(len(kept))
    renumbered = place_of[target[kept]]
    return np.where(renumbered < 0, np.arange(len(kept)), renumbered)


def _seed_random_state(seed: int, epoch: int, row: int) -> None:
    digest = hashlib.blake2b(struct.pack("<QQQ", seed, epoch, row), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.default_generator.manual_seed(number)  # the CPU's alone: no worker wakes a GPU


@contextlib.contextmanager
def _random_state_kept() -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
