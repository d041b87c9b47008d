"""Samples in batches: read, preprocessed, and the failures of each with their reasons."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from helip.common.errors import Error, SampleError
from helip.data.dataset import Dataset, read_ahead, start_method
from helip.data.image_transform import ImageTransform
from helip.data.picture_reader import PictureReader, Pictures

# Resizing the shorter side of a picture multiplies the other; beyond this it is no picture, and
# would take a model's preprocessing gigabytes.
_MAX_ASPECT = 100


class Batch(NamedTuple):
    """Consecutive samples, read and preprocessed, by their places among the rows of the batch."""

    read: list[int]
    images: torch.Tensor | None  # float32 [len(read), 3, H, W]; None where nothing could be read
    captions: list[Sequence[str]]  # those of each that was read
    failures: list[tuple[int, SampleError]]


@dataclass(frozen=True)
class Samples(torch.utils.data.Dataset[Any]):
    """Rows, each read and preprocessed to (image tensor, captions), or why that failed."""

    data: Dataset
    preprocess: Any

    def __getitems__(
        self, rows: list[int]
    ) -> list[tuple[torch.Tensor, Sequence[str]] | SampleError]:
        return [self[row] for row in read_ahead(self.data, rows)]

    def __getitem__(self, row: int) -> tuple[torch.Tensor, Sequence[str]] | SampleError:
        try:
            sample = self.data[row]
        except SampleError as error:
            return error.with_traceback(None)
        except Error:
            raise
        except Exception as error:
            raise Error(
                f"row {row}: the data set raised {type(error).__name__}: {error}"
            ) from error
        key, image = sample["key"], sample["image"]
        width, height = image.size
        if max(width, height) > _MAX_ASPECT * min(width, height):
            return self.data._sample_error(
                row,
                "extreme_aspect",
                f"the picture is {width} x {height}; one side may be {_MAX_ASPECT} times the other",
            )
        try:
            return self.preprocess(image), sample["captions"]
        except MemoryError:
            raise
        except Exception as error:
            return SampleError.of(key, "preprocess_failed", f"{type(error).__name__}: {error}")


def _collate(samples: list[tuple[torch.Tensor, Sequence[str]] | SampleError]) -> Batch:
    batch = Batch([], None, [], [])
    images = []
    for place, sample in enumerate(samples):
        if isinstance(sample, SampleError):
            batch.failures.append((place, sample))
        else:
            batch.read.append(place)
            images.append(sample[0])
            batch.captions.append(sample[1])
    shapes = {tuple(pixels.shape) for pixels in images}
    if len(shapes) > 1:
        raise Error(
            f"the image encoder's preprocess gave pictures of the shapes {sorted(shapes)} in one "
            "batch; it must give one shape"
        )
    return batch._replace(images=torch.stack(images) if images else None)


class Block(NamedTuple):
    """Consecutive samples of a batch: places first … last, as a batch of their own."""

    first: int
    last: int  # exclusive
    batch: Batch


def blocks_of(batch: Batch, size: int, pictures: int | None, skip: int) -> Iterator[Block]:
    """A batch of ``size`` samples in blocks of so many pictures that could be read.

    Blocks count from the start of the batch; what lies before place ``skip`` is left out.
    """
    step = pictures or max(len(batch.read), 1)
    # A sample that could not be read goes with the pictures before it.
    cuts = [0, *batch.read[step::step], size]
    for at, (begin, last) in enumerate(itertools.pairwise(cuts)):
        first = max(begin, skip)
        if first >= last:
            continue
        stop = min((at + 1) * step, len(batch.read))
        part = slice(bisect.bisect_left(batch.read, first, min(at * step, stop), stop), stop)
        yield Block(
            first,
            last,
            Batch(
                [place - first for place in batch.read[part]],
                None if batch.images is None or part.start == stop else batch.images[part],
                batch.captions[part],
                [(p - first, error) for p, error in batch.failures if first <= p < last],
            ),
        )


def batches_of(
    start: int, total: int, batch_size: int, shard_rows: int, *, first: int = 0
) -> list[range]:
    """The batches of rows 0 … total from the one that holds ``start``; they end at every shard
    boundary.

    ``first``: the row of a larger whole at which row 0 lies, where its shards count.
    """
    batches: list[range] = []
    shard = (first + start) // shard_rows * shard_rows - first
    start = max(shard + (start - shard) // batch_size * batch_size, 0)
    while start < total:
        shard_end = ((first + start) // shard_rows + 1) * shard_rows - first
        stop = min(start + batch_size, shard_end, total)
        batches.append(range(start, stop))
        start = stop
    return batches


def core_reader(data: Dataset, transform: ImageTransform, threads: int) -> PictureReader:
    """A reader by the core that refuses what :class:`Samples` refuses."""
    return PictureReader(
        data, [dataclasses.replace(transform, max_aspect=_MAX_ASPECT)], threads=threads
    )


def read_batches_by_core(
    data: Dataset, reader: PictureReader, batches: list[range]
) -> Generator[Batch, None, None]:
    """The batches as :func:`read_batches` gives them, of pictures that the core reads ahead."""
    with closing(reader.read(batches, lambda rows: np.arange(rows.start, rows.stop))) as read:
        for rows, begun in read:
            yield _batch_of(data, reader, rows, begun)


def _batch_of(data: Dataset, reader: PictureReader, rows: range, begun: Pictures) -> Batch:
    captions, failed = {}, {}
    for place, row in enumerate(rows):
        try:
            captions[place] = data.captions(row)
        except SampleError as error:
            failed[place] = error.with_traceback(None)
    failed = reader.wait(begun) | failed  # captions first, as a data set reads them
    kept = [place for place in range(len(rows)) if place not in failed]
    images = begun.views[0] if len(kept) == len(rows) else begun.views[0][kept]
    return Batch(
        kept,
        images if kept else None,
        [captions[place] for place in kept],
        sorted(failed.items()),
    )


def read_batches(
    samples: Samples, batches: list[range], workers: int
) -> Generator[Batch, None, None]:
    yield from torch.utils.data.DataLoader(
        samples,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_collate,
        num_workers=workers,
        multiprocessing_context=start_method(samples.data, workers),
        # Its own generator: the loader would draw a seed from the caller's random state.
        generator=torch.Generator(),
    )
