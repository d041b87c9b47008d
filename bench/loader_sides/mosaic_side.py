"""Mosaic's StreamingDataset: pictures in its shards as bytes, decoded as decoding.py does fastest.

Its own decoder is Pillow. In its own order: its shuffle, in torch's DataLoader. Hard pairs: the
same data set read by row, which it allows.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pictures import Pictures

from loader_sides import decoding
from loader_sides.dataloader import TRANSFORMS, ByRow, loaded
from loader_sides.order import Order
from loader_sides.side import Batches, Side, tokenizer


def mosaic(pictures: Pictures, order: Order, workers: int) -> Batches:
    from streaming import StreamingDataset
    from streaming.base.util import clean_stale_shared_memory
    from torch.utils.data import DataLoader

    clean_stale_shared_memory()
    decode = decoding.fastest(pictures.about["format"])

    class Rows(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, row: int) -> tuple[Any, Any]:
            sample = super().__getitem__(row)
            image = decoding.transform()(decode(sample["image"]))
            return image, tokenizer()([sample["text"]])[0]

    data = Rows(
        local=str(write(pictures)), batch_size=order.batch, shuffle=not order.has_hard_pairs
    )
    if order.has_hard_pairs:
        return loaded(ByRow(data), order, workers)

    def batches() -> Batches:
        while True:
            loader = DataLoader(data, batch_size=order.batch, num_workers=workers, drop_last=True)
            yield from map(tuple, loader)

    return batches()


def write(pictures: Pictures) -> Path:
    """Made on first use."""
    from streaming import MDSWriter

    folder = pictures.folder / "mosaic"
    if folder.exists():
        return folder
    staging = folder.with_suffix(".writing")
    shutil.rmtree(staging, ignore_errors=True)
    with MDSWriter(columns={"image": "bytes", "text": "str"}, out=str(staging)) as writer:
        for file, caption in zip(pictures.files, pictures.captions, strict=True):
            writer.write({"image": Path(file).read_bytes(), "text": caption})
    staging.rename(folder)
    return folder


SIDES = {
    "mosaic": Side(
        mosaic, ("streaming", "simplejpeg", TRANSFORMS), "mosaicml-streaming", prepare=write
    ),
}
