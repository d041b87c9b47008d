"""LitData: pictures in its chunks, their bytes kept, decoded by its own serializer.

In its own order: its StreamingDataLoader, which shuffles chunks and what is in them. Hard pairs:
its data set read by row in torch's DataLoader, which its pages call access to a sample. Transforms
are those of decoding.py.
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


def litdata(pictures: Pictures, order: Order, workers: int) -> Batches:
    import litdata

    folder = str(write(pictures))
    if order.has_hard_pairs:
        data = litdata.StreamingDataset(folder, transform=_transformed)
        return loaded(ByRow(data), order, workers)
    data = litdata.StreamingDataset(folder, transform=_transformed, shuffle=True, drop_last=True)
    loader = litdata.StreamingDataLoader(
        data, batch_size=order.batch, num_workers=workers, drop_last=True
    )

    def batches() -> Batches:
        while True:
            yield from map(tuple, loader)

    return batches()


def _transformed(sample: dict[str, Any]) -> tuple[Any, Any]:
    return decoding.transform()(sample["image"]), tokenizer()([sample["text"]])[0]


def write(pictures: Pictures) -> Path:
    """Made on first use."""
    import litdata

    folder = pictures.folder / "litdata"
    if folder.exists():
        return folder
    staging = folder.with_suffix(".writing")
    shutil.rmtree(staging, ignore_errors=True)
    rows = list(zip(pictures.files, pictures.captions, strict=True))
    litdata.optimize(
        _record, rows, output_dir=str(staging), chunk_bytes="64MB", num_workers=1, verbose=False,
        start_method="fork",  # it sets that of the whole process
    )  # fmt: skip
    staging.rename(folder)
    return folder


def _record(row: tuple[str, str]) -> dict[str, Any]:
    import litdata

    return {"image": litdata.Image(path=row[0]), "text": row[1]}


SIDES = {"litdata": Side(litdata, ("litdata", TRANSFORMS), "litdata", prepare=write)}
