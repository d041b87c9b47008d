"""TurboLoader: its path in C++ from one tar of JPEGs, or from pixels that were decoded before.

- ``turboloader``: its recipe of training: a random crop of 8 to 100 % of the area, for it takes no
  other, so that it decodes about half as much as the others; DCT scaling, bilinear, no antialias.
  ``helip-wide`` crops alike.
- ``turboloader-whole``: no crop: the picture squashed whole, DCT scaling, bilinear, with antialias.
  What comes nearest to crops of 90 to 100 %.
- ``turboloader-raw``: its ``.tbl`` format: pictures decoded and squashed to 256 x 256 beforehand,
  bilinear crops of 90 to 100 % of these. It decodes nothing, and takes 197 KB a picture on disk.

Both shuffle on their own: hard pairs cannot be asked for. Its threads are as many as processors.
Captions become tokens in the main thread, while its threads are at the next batch.
"""

from __future__ import annotations

import io
import itertools
import tarfile
from pathlib import Path
from typing import Any

from pictures import Pictures

from loader_sides.order import Order
from loader_sides.side import DEVIATION, MEAN, RATIO, SCALE, SIZE, Batches, Side, tokenizer

STORED = 256  # side of what is decoded beforehand, pixels


def training(pictures: Pictures, order: Order, workers: int) -> Batches:
    return _from_tar(pictures, order, workers, train_aug=True, hflip_prob=0.0)


def whole(pictures: Pictures, order: Order, workers: int) -> Batches:
    return _from_tar(pictures, order, workers, antialias=True)


def _from_tar(pictures: Pictures, order: Order, workers: int, **options: Any) -> Batches:
    import turboloader

    return _endless(pictures, turboloader.DataLoader(
        str(write_tar(pictures)), batch_size=order.batch, num_workers=workers, image_size=SIZE,
        output_format="pytorch", transform=turboloader.Normalize(list(MEAN), list(DEVIATION)),
        shuffle=True, drop_last=True, prefetch_batches=2, **options,
    ))  # fmt: skip


def raw(pictures: Pictures, order: Order, workers: int) -> Batches:
    import turboloader

    return _endless(pictures, turboloader.TblRawImageLoader(
        str(write_raw(pictures)), batch_size=order.batch, mean=MEAN, std=DEVIATION, shuffle=True,
        drop_last=True, image_size=SIZE, train_aug=True, scale=SCALE, ratio=RATIO, hflip_prob=0.0,
        prefetch_batches=2,
    ))  # fmt: skip


def _endless(pictures: Pictures, loader: Any) -> Batches:
    import torch

    captions, words = pictures.captions, tokenizer()
    for epoch in itertools.count():
        loader.set_epoch(epoch)
        for images, about in loader:
            texts = words([captions[row] for row in about["indices"]])
            yield torch.from_numpy(images), texts


def write_tar(pictures: Pictures) -> Path:
    """All pictures in one tar, for it takes one; made on first use."""
    path = pictures.folder / "pictures.tar"
    if path.exists():
        return path
    staging = path.with_suffix(".writing")
    with tarfile.open(staging, "w") as archive:
        for file in map(Path, pictures.files):
            data = file.read_bytes()
            info = tarfile.TarInfo(file.name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    staging.rename(path)
    return path


def write_raw(pictures: Pictures) -> Path:
    """Made on first use."""
    import turboloader

    path = pictures.folder / "pictures.tbl"
    if path.exists():
        return path
    staging = path.with_name("writing.tbl")
    turboloader.preprocess_to_tbl(str(write_tar(pictures)), str(staging), image_size=STORED)
    staging.rename(path)
    return path


SIDES = {
    "turboloader": Side(
        training, ("turboloader",), "turboloader", hard_pairs=False, formats=("jpeg",),
        less_work="crops of 8 to 100 %, no antialias", prepare=write_tar,
    ),
    "turboloader-whole": Side(
        whole, ("turboloader",), "turboloader", hard_pairs=False, formats=("jpeg",),
        prepare=write_tar,
    ),
    "turboloader-raw": Side(
        raw, ("turboloader",), "turboloader", hard_pairs=False, formats=("jpeg",),
        less_work="decoded beforehand", prepare=write_raw,
    ),
}  # fmt: skip
