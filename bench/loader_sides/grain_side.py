"""Grain: ArrayRecord, a map of Python functions over a list of rows, worker processes.

ArrayRecord reads at random, so hard pairs are a list of rows. It has no decoder; what decoding.py
has fastest takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pictures import Pictures

from loader_sides import decoding
from loader_sides.dataloader import TRANSFORMS
from loader_sides.order import Order
from loader_sides.side import Batches, Side, tokenizer

EPOCHS = 4  # that the list is made for


def grain(pictures: Pictures, order: Order, workers: int) -> Batches:
    import grain
    import torch
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # its workers read options that an absl program has parsed
    records = _Records(write(pictures), pictures)
    rows = order.first(EPOCHS * order.rows // order.batch * order.batch)
    data = (
        grain.MapDataset.source(rows)
        .map(records)
        .batch(order.batch)
        .repeat()
        .to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2))
        .mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2))
    )

    def batches() -> Batches:
        for images, texts in data:
            yield torch.from_numpy(images), torch.from_numpy(texts)

    return batches()


class _Records:
    """Picture and tokens of a row, read from ArrayRecord."""

    def __init__(self, path: Path, pictures: Pictures) -> None:
        self._path, self._captions = path, pictures.captions
        self._decode: Callable[[bytes], Any] = decoding.fastest(pictures.about["format"])
        self._source: Any = None  # a worker opens its own

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_source": None}

    def __call__(self, row: Any) -> tuple[np.ndarray, np.ndarray]:
        if self._source is None:
            import grain
            import torch

            torch.set_num_threads(1)
            self._source = grain.sources.ArrayRecordDataSource([str(self._path)])
        image = decoding.transform()(self._decode(self._source[int(row)]))
        return image.numpy(), tokenizer()([self._captions[row]])[0].numpy()


def write(pictures: Pictures) -> Path:
    """Made on first use."""
    from array_record.python.array_record_module import ArrayRecordWriter

    path = pictures.folder / "pictures.array_record"
    if path.exists():
        return path
    staging = path.with_suffix(".writing")
    writer = ArrayRecordWriter(str(staging), "group_size:1,uncompressed")
    for file in pictures.files:
        writer.write(Path(file).read_bytes())
    writer.close()
    staging.rename(path)
    return path


SIDES = {
    "grain": Side(
        grain, ("grain", "array_record.python.array_record_module", "simplejpeg", TRANSFORMS),
        "grain", prepare=write,
    ),
}  # fmt: skip
