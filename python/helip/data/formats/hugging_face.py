"""Data sets of Hugging Face ``datasets``, in memory or as ``save_to_disk`` wrote them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helip.common.errors import CorruptError, Error, InvalidArgumentError, UnsupportedError
from helip.data.columns import choose_columns, first_text
from helip.data.dataset import Dataset
from helip.data.decoding import decode_image
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
            options = replace(options, image_column=pictures[0])
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


def _import_datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise UnsupportedError(
            "Hugging Face data sets need the datasets library; run: pip install helip[data]"
        ) from error
    return datasets
