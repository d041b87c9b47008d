"""Data sets of other libraries: Hugging Face ``datasets``, and any map-style torch ``Dataset``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helip.common.errors import CorruptError, Error, InvalidArgumentError, UnsupportedError
from helip.data.columns import (
    CAPTION_NAMES,
    IMAGE_NAMES,
    LABEL_NAMES,
    choose_columns,
)
from helip.data.dataset import Dataset
from helip.data.decoding import decode_image, to_rgb
from helip.data.formats.table import first_text
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList
from helip.data.paths import is_url, read_inside

if TYPE_CHECKING:
    from PIL import Image


def open_saved(folder: Path, options: OpenCall) -> HuggingFaceDataset:
    """Open the folder that ``datasets.Dataset.save_to_disk`` wrote."""
    datasets = _import_datasets()
    try:
        return HuggingFaceDataset(datasets.load_from_disk(str(folder)), options)
    except Error:
        raise
    except Exception as error:
        raise CorruptError(f"{folder} is no whole saved data set: {error}") from error


def open_hugging_face(source: Any, options: OpenCall) -> HuggingFaceDataset:
    """Wrap a ``datasets.Dataset``; name the splits or the mend for its relatives."""
    datasets = _import_datasets()
    if isinstance(source, datasets.Dataset):
        return HuggingFaceDataset(source, options)
    if isinstance(source, Mapping):
        raise InvalidArgumentError(
            f"a {type(source).__name__} holds several splits; give one of them: "
            + ", ".join(f"source[{name!r}]" for name in source)
        )
    raise UnsupportedError(
        f"{type(source).__name__} has no random access, which hard pairs need; load it without "
        "streaming=True"
    )


class HuggingFaceDataset(Dataset):
    """A ``datasets.Dataset`` with a picture column (Image, bytes, or paths) and a caption column.

    Pictures are decoded here, not by ``datasets``, so that the same bounds hold. Keys are row
    numbers unless ``key_column`` names a column.
    """

    def __init__(self, source: Any, options: OpenCall) -> None:
        datasets = _import_datasets()
        options.refuse(("keys",), "a datasets.Dataset; name a column with key_column=")
        self.max_pixels = options.max_pixels
        self._follow_links = options.follow_links
        self._root = None if options.root is None else os.path.realpath(options.root)
        pictures = [n for n, f in source.features.items() if isinstance(f, datasets.Image)]
        names = list(source.column_names)
        if options.image_column is None and len(pictures) == 1:
            # A column of the type Image is the picture whatever its name.
            options = _with_image_column(options, pictures[0])
        columns = choose_columns(names, options, "the data set")
        source = source.with_format(None)
        if columns.image in pictures:
            source = source.cast_column(columns.image, datasets.Image(decode=False))
        self._columns = columns
        self._source = source
        # One column a view: the caption of a row is then read without its picture.
        self._captions = source.select_columns([columns.caption])
        self._labels = None
        if columns.label is not None:
            self._labels = source.select_columns([columns.label])
            self._class_names = getattr(source.features[columns.label], "names", None)
        if columns.key is None:
            self._keys = KeyList.numbered(len(source))
        else:
            column = source.select_columns([columns.key])
            self._keys = KeyList.from_strings(first_text(row[columns.key]) for row in column)
        self._check_keys()

    @property
    def keys(self) -> KeyList:
        return self._keys

    def _read_caption(self, row: int) -> str | None:
        return first_text(self._captions[row][self._columns.caption])

    def _read_label(self, row: int) -> str | None:
        if self._labels is None:
            return None
        value = self._labels[row][self._columns.label]
        if self._class_names is not None and isinstance(value, int):
            # Hugging Face writes -1 for "no class".
            return self._class_names[value] if 0 <= value < len(self._class_names) else None
        return first_text(value) or None

    def _read_image(self, row: int) -> Image.Image:
        value = self._source[row][self._columns.image]
        path = value
        if isinstance(value, Mapping):
            path, value = value.get("path"), value.get("bytes")
        key = self.keys[row]
        if isinstance(value, bytes) and value:
            return decode_image(value, key=key, max_pixels=self.max_pixels)
        if not isinstance(path, str) or not path:
            raise self._sample_error(row, "missing_image", "its picture column is empty")
        if is_url(path):
            raise self._sample_error(
                row, "io", f"{path!r} is not a local file, and helip never downloads"
            )
        # Where no root is set, the paths are those of the process that made the data set.
        root = self._root or os.path.dirname(os.path.abspath(path))
        data = read_inside(
            root,
            os.path.abspath(path) if self._root is None else path,
            key=key,
            follow_links=self._follow_links or self._root is None,
        )
        return decode_image(data, key=key, max_pixels=self.max_pixels)


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


def _with_image_column(options: OpenCall, name: str) -> OpenCall:
    from dataclasses import replace

    return replace(options, image_column=name)


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UnsupportedError(
            "Hugging Face data sets need the datasets library; run: pip install helip[data]"
        ) from error
    return datasets
