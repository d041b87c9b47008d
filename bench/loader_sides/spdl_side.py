"""SPDL: a pipeline of threads on files, the lock being released.

- ``spdl``: FFmpeg decodes, crops and scales by swscale, bicubic, without antialias; crops keep the
  aspect, for its filter draws width and height alike. Needs FFmpeg's libraries (Debian:
  libavdevice61, libavfilter10).
- ``spdl-simplejpeg``: the same threads, with what decoding.py has: no process to copy from.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

from pictures import Pictures

from loader_sides import decoding
from loader_sides.dataloader import TRANSFORMS, Files
from loader_sides.order import Order
from loader_sides.side import DEVIATION, MEAN, SCALE, SIZE, Batches, Side, tokenizer


def ffmpeg(pictures: Pictures, order: Order, workers: int) -> Batches:
    import spdl.io
    import torch

    files, captions, words = pictures.files, pictures.captions, tokenizer()
    mean = torch.tensor(MEAN)[:, None, None] * 255
    deviation = torch.tensor(DEVIATION)[:, None, None] * 255

    def load(row: int) -> tuple[Any, Any]:
        # Which part of the area, and where; its filter knows the size of the picture, we do not.
        side = math.sqrt(random.uniform(*SCALE))
        across, down = random.random(), random.random()
        filters = (
            f"crop=w=iw*{side:.5f}:h=ih*{side:.5f}:x=(iw-ow)*{across:.5f}:y=(ih-oh)*{down:.5f},"
            f"scale={SIZE}:{SIZE}:flags=bicubic,format=pix_fmts=rgb24"
        )
        pixels = spdl.io.to_torch(spdl.io.load_image(files[row], filter_desc=filters))
        image = (pixels.permute(2, 0, 1).float() - mean) / deviation
        return image, words([captions[row]])[0]

    return _pipeline(load, order, workers)


def simplejpeg(pictures: Pictures, order: Order, workers: int) -> Batches:
    return _pipeline(Files(pictures, decoding.simplejpeg_scaled).__getitem__, order, workers)


def _pipeline(load: Callable[[int], tuple[Any, Any]], order: Order, workers: int) -> Batches:
    import torch
    from spdl.pipeline import PipelineBuilder

    def collate(samples: list[tuple[Any, Any]]) -> tuple[Any, Any]:
        images, texts = zip(*samples, strict=True)
        return torch.stack(images), torch.stack(texts)

    load(0)  # says what is missing; in a thread it would only be logged
    pipeline = (
        PipelineBuilder()
        .add_source(itertools.chain.from_iterable(order))
        .pipe(load, concurrency=workers, output_order="input")
        .aggregate(order.batch)
        .pipe(collate)
        .add_sink(2)
        .build(num_threads=workers, max_failures=0)
    )

    def batches() -> Batches:
        with pipeline.auto_stop():
            yield from pipeline

    return batches()


SIDES = {
    "spdl": Side(ffmpeg, ("spdl.io", "spdl.pipeline"), "spdl"),
    "spdl-simplejpeg": Side(
        simplejpeg, ("simplejpeg", "spdl.pipeline", TRANSFORMS), "spdl", formats=("jpeg",)
    ),
}
