"""FFCV: its own file format, in which JPEGs are encoded once more, and threads.

Its decoder crops and scales by OpenCV's area filter, for it has no other. Its loader takes no order
of the user's (it tells a class of orders by a test that no class passes), so batches of given rows
replace its order after it was made. Installing it takes OpenCV's and TurboJPEG's headers (Debian:
libopencv-dev, libturbojpeg0-dev, pkg-config).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pictures import Pictures

from loader_sides.order import Order
from loader_sides.side import DEVIATION, MEAN, RATIO, SCALE, SIZE, Batches, Side, tokenizer


def ffcv(pictures: Pictures, order: Order, workers: int) -> Batches:
    import torch
    from ffcv.fields.decoders import NDArrayDecoder, RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, ToTensor, ToTorchImage

    images = [
        RandomResizedCropRGBImageDecoder((SIZE, SIZE), scale=SCALE, ratio=RATIO),
        NormalizeImage(np.array(MEAN) * 255, np.array(DEVIATION) * 255, np.float32),
        ToTensor(),
        ToTorchImage(channels_last=False),
    ]
    loader = Loader(
        str(write(pictures)), batch_size=order.batch, num_workers=workers,
        order=OrderOption.RANDOM, os_cache=True, drop_last=True,
        pipelines={"image": images, "text": [NDArrayDecoder(), ToTensor()]},
    )  # fmt: skip
    if order.has_hard_pairs:
        loader.traversal_order = _Given(order)

    def batches() -> Batches:
        while True:
            for image, text in loader:
                yield image, text.to(torch.int64)

    return batches()


class _Given:
    """An order of FFCV's that goes on through batches of given rows."""

    def __init__(self, order: Order) -> None:
        self._rows, self._batches = order.rows // order.batch, iter(order)

    def sample_order(self, epoch: int) -> np.ndarray:
        return np.concatenate([next(self._batches) for _ in range(self._rows)])


def write(pictures: Pictures) -> Path:
    """Made on first use."""
    from ffcv.fields import NDArrayField, RGBImageField
    from ffcv.writer import DatasetWriter
    from PIL import Image

    path = pictures.folder / "pictures.beton"
    if path.exists():
        return path
    words, files, captions = tokenizer(), pictures.files, pictures.captions

    class Rows:
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, row: int) -> tuple[Any, Any]:
            with Image.open(files[row]) as picture:
                return picture.convert("RGB"), words([captions[row]])[0].numpy()

    staging = path.with_suffix(".writing")
    fields = {
        "image": RGBImageField(write_mode="jpg", jpeg_quality=88),
        "text": NDArrayField(np.dtype("int64"), (77,)),
    }
    DatasetWriter(str(staging), fields, num_workers=1).from_indexed_dataset(Rows())
    staging.rename(path)
    return path


SIDES = {
    "ffcv": Side(
        ffcv, ("ffcv.loader", "ffcv.transforms", "ffcv.fields.decoders"), "ffcv",
        formats=("jpeg",), prepare=write,
    ),
}  # fmt: skip
