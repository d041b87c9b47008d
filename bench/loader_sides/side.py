"""What a side of bench/loader.py is, and what all of them share.

A side gives batches of normalised tensors and tokens, for ever: RandomResizedCrop to 224 px with
scale 0.9 to 1.0 (open_clip's training recipe), float32 NCHW normalised by CLIP's mean and
deviation, and captions through open_clip's tokenizer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pictures import Pictures

from loader_sides.order import Order

SIZE = 224
SCALE = (0.9, 1.0)
RATIO = (3 / 4, 4 / 3)
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

Batches = Iterator[tuple[Any, Any]]  # (images [b, 3, 224, 224] float32, tokens [b, 77] int64)

EVERY_FORMAT = ("jpeg", "png", "webp")


@dataclass(frozen=True)
class Side:
    """One way to load pictures.

    Attributes:
        open: gives the batches, from the pictures, an order of rows and a number of workers.
        imports: modules that are imported before its time is taken.
        package: the distribution whose version is shown.
        hard_pairs: whether it reads rows in an order that is given, so that batches can hold hard
            pairs. Else it shuffles in its own way.
        formats: of pictures that it decodes.
        less_work: what it leaves out that the others do, where it does.
        prepare: writes the file format of its own, before its time is taken.
    """

    open: Callable[[Pictures, Order, int], Batches]
    imports: tuple[str, ...]
    package: str
    hard_pairs: bool = True
    formats: tuple[str, ...] = EVERY_FORMAT
    less_work: str = ""
    prepare: Callable[[Pictures], object] | None = None


@functools.cache
def tokenizer() -> Any:
    import open_clip

    return open_clip.get_tokenizer("ViT-B-32")


def open_clip_transform() -> Any:
    import open_clip.transform

    return open_clip.transform.image_transform(SIZE, is_train=True, mean=MEAN, std=DEVIATION)
