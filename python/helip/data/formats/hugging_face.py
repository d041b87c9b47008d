"""Data sets of Hugging Face ``datasets``, in memory or as ``save_to_disk`` wrote them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helip.common.errors import (
    CorruptError,
    Error,
    InvalidArgumentError,
    UnsupportedError,
    needed,
)
from helip.common.patterns import is_url
from helip.data.captions import caption_digests, texts_of
from helip.data.columns import choose_columns, first_text
from helip.data.dataset import KeyedDataset
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList
from helip.data.paths import read_inside


def open_saved(folder: Path, options: OpenCall) -> HuggingFaceDataset:
    """Open the folder that ``datasets.Dataset.save_to_disk`` wrote."""
    with needed("Hugging Face data sets need the datasets library", "helip[data]"):
        import datasets
    try:
        return HuggingFaceDataset(datasets.load_from_disk(str(folder)), options)
    except Error:
        raise
    except Exception as error:
        raise CorruptError(f"{folder} is no whole saved data set: {error}") from error


def open_hugging_face(source: Any, options: OpenCall) -> HuggingFaceDataset:
    """Wrap a ``datasets.Dataset``; name the splits or the mend for its relatives."""
    import datasets

    if isinstance(source, datasets.Dataset):
        return HuggingFaceDataset(source, options)
    if isinstance(source, Mapping):
        raise InvalidArgumentError(
            f"split is None, and a {type(source).__name__} holds several: {', '.join(source)}; "
            "give one of them"
        )
    raise UnsupportedError(
        f"{type(source).__name__} has no random access, which hard pairs need; load it without "
        "streaming=True"
    )


class HuggingFaceDataset(KeyedDataset):
    """A ``datasets.Dataset`` with a picture column (Image, bytes, or paths) and a caption column.

    Pictures are decoded here, not by ``datasets``, so that the same bounds hold. Keys are row
    numbers unless ``key_column`` names a column.
    """

    def __init__(self, source: Any, options: OpenCall) -> None:
        import datasets

        options.refuse(("keys",), "a datasets.Dataset; name a column with key_column=")
        self.max_pixels, self.max_seconds = options.limits
        self._follow_links = bool(options.follow_links)
        self._root = None if options.root is None else os.path.realpath(options.root)
        pictures = [n for n, f in source.features.items() if isinstance(f, datasets.Image)]
        if options.image_column is None and len(pictures) == 1:
            # A column of the type Image is the picture whatever its name.
            options = replace(options, image_column=pictures[0])
        columns = choose_columns(list(source.column_names), options, "the data set")
        source = source.with_format(None)
        if columns.image in pictures:
            source = source.cast_column(columns.image, datasets.Image(decode=False))
        # One column each: the caption of a row is then read without its picture.
        self._columns = {
            role: (name, source.select_columns([name])) for role, name in columns.roles().items()
        }
        self._class_names = None
        if columns.label is not None:
            self._class_names = getattr(source.features[columns.label], "names", None)
        if columns.key is None:
            self._take_keys(KeyList.numbered(len(source)))
        else:
            name, column = self._columns["key"]
            self._take_keys(KeyList.from_strings(first_text(row[name]) for row in column))

    def _cell(self, role: str, row: int) -> Any:
        name, column = self._columns[role]
        return column[row][name]

    def _read_captions(self, row: int) -> list[str]:
        return texts_of(self._cell("caption", row))

    def _caption_digests(self, rows: np.ndarray) -> np.ndarray:
        name, column = self._columns["caption"]
        return caption_digests(map(texts_of, column[rows.tolist()][name]))

    def _read_label(self, row: int) -> str | None:
        if "label" not in self._columns:
            return None
        value = self._cell("label", row)
        if self._class_names is not None and isinstance(value, int):
            # Hugging Face writes -1 for "no class".
            return self._class_names[value] if 0 <= value < len(self._class_names) else None
        return first_text(value) or None

    def _image_cell(self, row: int) -> tuple[Any, bytes]:
        """The path and the bytes of a picture; what is not there is empty or None."""
        value = path = self._cell("image", row)
        if isinstance(value, Mapping):
            path, value = value.get("path"), value.get("bytes")
        return path, value if isinstance(value, bytes) else b""

    def _image_path(self, row: int) -> str | None:
        path, value = self._image_cell(row)
        if value or not isinstance(path, str) or not path or is_url(path):
            return None
        return os.path.abspath(path if self._root is None else os.path.join(self._root, path))

    def _image_bytes(self, row: int) -> bytes | None:
        return self._image_cell(row)[1] or None

    def _read_image(self, row: int) -> Image.Image:
        path, value = self._image_cell(row)
        if value:
            return self._decoded(row, value)
        if not isinstance(path, str) or not path:
            raise self._sample_error(row, "missing_image", "its picture column is empty")
        if is_url(path):
            detail = f"{path!r} is not a local file, and helip never downloads"
            raise self._sample_error(row, "io", detail)
        if self._root is None:
            # The paths are those of the process that made the data set.
            path = os.path.abspath(path)
        root = self._root or os.path.dirname(path)
        follow_links = self._follow_links or self._root is None
        data = read_inside(root, path, key=self.keys[row], follow_links=follow_links)
        return self._decoded(row, data)
