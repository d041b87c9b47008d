"""Who reads a batch: threads of the native core where they can, else worker processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.data.image_transform import ImageTransform
from helip.data.picture_reader import can_assemble
from helip.loading.options import ReadOptions
from helip.loading.readers.assembled import AssembledReader
from helip.loading.readers.batch import BatchReader, ReadBatch
from helip.loading.readers.processes import ProcessReads
from helip.loading.views import TwoViews


def choose_reads(
    data: Any,
    transform: Any,
    views: Sequence[ImageTransform],
    tokenizer: Any,
    seed: int,
    options: ReadOptions,
) -> Callable[[Any], Generator[ReadBatch]]:
    """What turns plans into batches."""
    workers, prefetch = options.workers, options.prefetch
    if isinstance(transform, TwoViews) and can_assemble(data, transform.transform):
        again = transform.ssl_transform
        if isinstance(again, ImageTransform):
            transform, views = transform.transform, (again, again, *views)
    if can_assemble(data, transform):
        return AssembledReader(
            data,
            transform,
            views,
            tokenizer,
            seed=seed,
            threads=workers or 0,
            ahead=0 if workers == 0 else prefetch,
            pin_memory=bool(options.pin_memory),
        ).read
    if views:
        raise InvalidArgumentError(
            f"views need transform to be an ImageTransform, not {type(transform).__name__}, and "
            f"data in tar shards, folders or tables of paths, not {type(data).__name__}; let the "
            "transform itself give several views, stacked"
        )
    reader = BatchReader(data, transform, tokenizer, seed)
    return ProcessReads(reader, workers or 0, prefetch, bool(options.pin_memory)).read
