"""Any map-style torch ``Dataset`` of pictures and captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from helip.common.errors import Error, InvalidArgumentError, UnsupportedError
from helip.data.columns import CAPTION_NAMES, IMAGE_NAMES, LABEL_NAMES, first_text
from helip.data.dataset import Dataset
from helip.data.decoding import decode_image, to_rgb
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList

if TYPE_CHECKING:
    from PIL import Image


class MapDataset(Dataset):
    """Any object with ``len()`` and ``[i]`` that gives ``(image, caption, …)`` or a mapping.

    The picture may be a Pillow image, encoded bytes, or a uint8 array or tensor [H, W],
    [H, W, 3], or [3, H, W]. Of a list of captions the first counts. Keys are row numbers unless
    ``keys`` gives them. An exception of the object is a SampleError with the reason
    ``source_error``.
    """

    def __init__(self, source: Any, options: OpenCall) -> None:
        if options.key_column is not None:
            raise InvalidArgumentError(
                f"key_column={options.key_column!r} does not apply to a torch Dataset, as that "
                "would read every picture; give the keys with keys=…"
            )
        options.refuse(("root", "follow_links"), "a torch Dataset")
        try:
            size = len(source)
        except (TypeError, NotImplementedError) as error:
            raise UnsupportedError(
                f"{type(source).__name__} has no len(), so it cannot be read at random; give a "
                "map-style data set"
            ) from error
        self.max_pixels = options.max_pixels
        self._source = source
        self._names = {
            "image": _names(options.image_column, IMAGE_NAMES),
            "caption": _names(options.caption_column, CAPTION_NAMES),
            "label": _names(options.label_column, LABEL_NAMES),
        }
        keys = options.keys
        if keys is not None and len(keys) != size:
            raise InvalidArgumentError(
                f"{len(keys):,} keys given for {size:,} rows; give one key a row"
            )
        self._keys = KeyList.numbered(size) if keys is None else KeyList.from_strings(keys)
        self._check_keys()

    @property
    def keys(self) -> KeyList:
        return self._keys

    def __repr__(self) -> str:
        return f"MapDataset({len(self._keys):,} rows of {type(self._source).__name__})"

    def _read_pair(self, row: int) -> tuple[Image.Image, str]:
        # One look at the source for both, as it may decode the picture each time.
        item = self._item(row)
        text = self._checked_caption(row, self._caption_of(item))
        return self._image_of(row, item), text

    def _read_image(self, row: int) -> Image.Image:
        return self._image_of(row, self._item(row))

    def _read_caption(self, row: int) -> str | None:
        return self._caption_of(self._item(row))

    def _read_label(self, row: int) -> str | None:
        return first_text(_field(self._item(row), self._names["label"], 2)) or None

    def _item(self, row: int) -> Any:
        try:
            item = self._source[row]
        except Error:
            raise
        except Exception as error:
            raise self._sample_error(
                row, "source_error", f"{type(error).__name__} from the wrapped data set: {error}"
            ) from error
        if not isinstance(item, (Mapping, tuple, list)):
            raise self._sample_error(
                row,
                "source_error",
                f"the wrapped data set gave {type(item).__name__}, not (image, caption) or a dict",
            )
        return item

    def _caption_of(self, item: Any) -> str:
        value = _field(item, self._names["caption"], 1)
        # A number in the second place is a class, as of ImageFolder, not a caption.
        return first_text(value) if isinstance(value, (str, list, tuple)) else ""

    def _image_of(self, row: int, item: Any) -> Image.Image:
        value = _field(item, self._names["image"], 0)
        key = self.keys[row]
        if value is None:
            raise self._sample_error(row, "missing_image", "the wrapped data set gave no picture")
        if isinstance(value, (bytes, bytearray, memoryview)):
            return decode_image(bytes(value), key=key, max_pixels=self.max_pixels)
        try:
            image = value if hasattr(value, "convert") else _from_array(value)
            return to_rgb(image, key=key, max_pixels=self.max_pixels)
        except Error:
            raise
        except Exception as error:
            raise self._sample_error(
                row, "unreadable_image", f"its picture cannot be used: {error}"
            ) from error


def _names(asked: str | None, usual: Sequence[str]) -> Sequence[str]:
    return usual if asked is None else (asked,)


def _field(item: Any, names: Sequence[str], place: int) -> Any:
    if isinstance(item, Mapping):
        return next((item[name] for name in names if name in item), None)
    return item[place] if place < len(item) else None


def _from_array(value: Any) -> Image.Image:
    from PIL import Image

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
