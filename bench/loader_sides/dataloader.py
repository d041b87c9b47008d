"""torch's DataLoader on files, a process a worker, by whatever decodes.

- ``open_clip``: open_clip's own CSV loader: ``open_clip_train.data.CsvDataset`` (Pillow, its
  transform). With hard pairs it does what the method's released code does.
- ``torchvision``, ``simplejpeg``, ``simplejpeg-scaled``: see decoding.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pictures import Pictures

from loader_sides import decoding
from loader_sides.order import Order
from loader_sides.side import Batches, Side, open_clip_transform, tokenizer

TRANSFORMS = "torchvision.transforms.v2"


class ByRow:
    """Access by row alone: as an iterable data set it takes no order."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, row: int) -> Any:
        return self._data[row]


class Files:
    """Picture and tokens of a row, its file decoded to uint8 [3, h, w]."""

    def __init__(self, pictures: Pictures, decode: Callable[[bytes], Any]) -> None:
        self._files, self._captions = pictures.files, pictures.captions
        self._decode, self._transform = decode, decoding.transform()
        self._tokenizer = tokenizer()

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        pixels = self._decode(Path(self._files[row]).read_bytes())
        return self._transform(pixels), self._tokenizer([self._captions[row]])[0]


def loaded(data: Any, order: Order, workers: int) -> Batches:
    """A data set that is read by row, in that order."""
    from torch.utils.data import DataLoader

    return iter(DataLoader(data, num_workers=workers, batch_sampler=order))  # type: ignore[arg-type]


def open_clip(pictures: Pictures, order: Order, workers: int) -> Batches:
    from open_clip_train.data import CsvDataset

    data = CsvDataset(
        str(pictures.table), open_clip_transform(), "filepath", "title", tokenizer=tokenizer()
    )
    return loaded(data, order, workers)


def _by(decode: Callable[[bytes], Any]) -> Callable[[Pictures, Order, int], Batches]:
    return lambda pictures, order, workers: loaded(Files(pictures, decode), order, workers)


SIDES = {
    "open_clip": Side(open_clip, ("open_clip_train.data",), "open_clip_torch"),
    "torchvision": Side(
        _by(decoding.torchvision), ("torchvision.io", TRANSFORMS), "torchvision"
    ),
    "simplejpeg": Side(
        _by(decoding.simplejpeg), ("simplejpeg", TRANSFORMS), "simplejpeg", formats=("jpeg",)
    ),
    "simplejpeg-scaled": Side(
        _by(decoding.simplejpeg_scaled), ("simplejpeg", TRANSFORMS), "simplejpeg",
        formats=("jpeg",),
    ),
}  # fmt: skip
