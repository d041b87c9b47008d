"""Any map-style torch ``Dataset`` of pictures and captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from helip.common.errors import Error, UnsupportedError
from helip.common.options import require
from helip.data.captions import texts_of
from helip.data.columns import CAPTION_NAMES, IMAGE_NAMES, LABEL_NAMES, first_text
from helip.data.dataset import KeyedDataset
from helip.data.decoding import time_limit, to_rgb
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList


class MapDataset(KeyedDataset):
    """Any object with ``len()`` and ``[i]`` that gives ``(image, caption, …)`` or a mapping.

    The picture may be a Pillow image, encoded bytes, or a uint8 array or tensor [H, W],
    [H, W, 3], or [3, H, W]. The caption may be a list of several. Keys are row numbers unless
    ``keys`` gives them. An exception of the object is a SampleError with the reason
    ``source_error``.
    """

    def __init__(self, source: Any, options: OpenCall) -> None:
        # A column of keys would mean to read every picture.
        options.refuse(("key_column",), "a torch Dataset, whose keys are given with keys=…")
        options.refuse(("root", "follow_links"), "a torch Dataset")
        try:
            size = len(source)
        except (TypeError, NotImplementedError) as error:
            raise UnsupportedError(
                f"{type(source).__name__} has no len(), so it cannot be read at random; give a "
                "map-style data set"
            ) from error
        self.max_pixels, self.max_seconds = options.limits
        self._source = source
        self._fields = {
            "image": (0, options.image_column, IMAGE_NAMES),
            "caption": (1, options.caption_column, CAPTION_NAMES),
            "label": (2, options.label_column, LABEL_NAMES),
        }
        keys = options.keys
        if keys is not None:
            require(len(keys) == size, "the number of keys", len(keys), f"{size}, one a row")
        self._take_keys(KeyList.numbered(size) if keys is None else KeyList.from_strings(keys))

    def __repr__(self) -> str:
        return f"MapDataset({len(self):,} rows of {type(self._source).__name__})"

    def _read_pair(self, row: int) -> tuple[Image.Image, tuple[str, ...]]:
        # One look at the source for both, as it may decode the picture each time.
        item = self._item(row)
        captions = self._checked_captions(row, self._captions_of(item))
        return self._image_of(row, item), captions

    def _read_image(self, row: int) -> Image.Image:
        return self._image_of(row, self._item(row))

    def _read_captions(self, row: int) -> list[str]:
        return self._captions_of(self._item(row))

    def _caption_digests(self, rows: np.ndarray) -> np.ndarray:
        # A look at a caption would decode the picture: not known.
        return np.zeros(len(rows), dtype=np.uint64)

    def _read_label(self, row: int) -> str | None:
        return first_text(self._field(self._item(row), "label")) or None

    def _item(self, row: int) -> Any:
        try:
            item = self._source[row]
        except Error:
            raise
        except Exception as error:
            detail = f"{type(error).__name__} from the wrapped data set: {error}"
            raise self._sample_error(row, "source_error", detail) from error
        if not isinstance(item, (Mapping, tuple, list)):
            kind = type(item).__name__
            detail = f"the wrapped data set gave {kind}, not (image, caption) or a dict"
            raise self._sample_error(row, "source_error", detail)
        return item

    def _field(self, item: Any, role: str) -> Any:
        place, asked, usual = self._fields[role]
        if isinstance(item, Mapping):
            names = usual if asked is None else (asked,)
            return next((item[name] for name in names if name in item), None)
        return item[place] if place < len(item) else None

    def _captions_of(self, item: Any) -> list[str]:
        value = self._field(item, "caption")
        # A number in the second place is a class, as of ImageFolder, not a caption.
        return texts_of(value) if isinstance(value, (str, list, tuple)) else []

    def _image_of(self, row: int, item: Any) -> Image.Image:
        value = self._field(item, "image")
        if value is None:
            raise self._sample_error(row, "missing_image", "the wrapped data set gave no picture")
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self._decoded(row, bytes(value))
        try:
            image = value if hasattr(value, "convert") else _from_array(value)
            with time_limit(self.max_seconds, key=self.keys[row]):
                return to_rgb(image, key=self.keys[row], max_pixels=self.max_pixels)
        except Error:
            raise
        except Exception as error:
            detail = f"its picture cannot be used: {error}"
            raise self._sample_error(row, "unreadable_image", detail) from error


def _from_array(value: Any) -> Image.Image:
    array = np.asarray(value)
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise ValueError(
            f"it is {type(value).__name__} of {array.dtype} {list(array.shape)}, and must be a "
            "Pillow image, bytes, or uint8 [H, W, 3] or [3, H, W]: leave normalising to the "
            "encoder's own transform"
        )
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))
