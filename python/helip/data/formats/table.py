"""A table of pictures and captions, whatever its format.

Pictures named by path are read when they are asked for, pictures that lie in a Parquet column by
row group.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.data.columns import Columns
from helip.data.dataset import KeyedDataset
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList, PackedStrings
from helip.data.paths import file_sizes, is_url, read_inside


class StoredImages(Protocol):
    """Encoded pictures that lie in the table itself."""

    nulls: int  # rows without one

    def read(self, row: int) -> bytes | None: ...


class TableDataset(KeyedDataset):
    """Rows of one or more tables.

    Args:
        files: the tables.
        starts: the first row of each, and the number of all rows.
        images: paths of the pictures, or the reader of a Parquet column of bytes.
        texts: one text a row for each of ``caption``, ``key`` and ``label`` that has a column;
            empty where there is none. Without keys they are the paths, else row numbers.
    """

    _duplicate_mend = (
        "keys must be unique: name a column of unique values with key_column=…, or pass key_column="
        '"row" to number the rows'
    )

    def __init__(
        self,
        files: Sequence[Path],
        starts: Sequence[int],
        images: PackedStrings | StoredImages,
        texts: Mapping[str, PackedStrings],
        columns: Columns,
        options: OpenCall,
    ) -> None:
        self.max_pixels = options.max_pixels
        self._files = files
        self._starts = starts
        self._follow_links = options.follow_links
        self._images, self._captions, self._labels = images, texts["caption"], texts.get("label")
        self._roots = [
            os.path.realpath(options.root if options.root is not None else path.parent)
            for path in files
        ]
        if isinstance(images, PackedStrings):
            self._check_paths(images)
        self._take_keys(self._make_keys(texts.get("key"), columns))

    def _check_paths(self, images: PackedStrings) -> None:
        """Refuse at once what could not be read later: addresses, and paths outside the root."""
        for row, path in enumerate(images):
            if is_url(path):
                raise InvalidArgumentError(
                    f"{self._place(row)}: {path!r} is an address, not a file, and helip never "
                    "downloads; fetch the pictures first, for instance with img2dataset"
                )
            if ".." in path or path[:1] == "/":
                root = self._roots[self._file_of(row)]
                whole = os.path.normpath(os.path.join(root, path))
                if os.path.commonpath([root, whole]) != root:
                    raise InvalidArgumentError(
                        f"{self._place(row)}: {path!r} leaves the folder {root}; pass root=… "
                        "to name the folder that the paths start from"
                    )

    def _make_keys(self, given: PackedStrings | None, columns: Columns) -> KeyList:
        if given is not None:
            if len(empty := given.empty_rows()):
                raise InvalidArgumentError(
                    f"{self._place(empty[0])} has no key in the column {columns.key!r}; "
                    "fill it in, or leave key_column out"
                )
            return KeyList.from_strings(given)
        if columns.number_rows or not isinstance(self._images, PackedStrings):
            return KeyList.numbered(len(self._captions))
        paths = enumerate(self._images)
        return KeyList.from_strings(path or f"row-{row:09d}" for row, path in paths)

    def counts(self) -> dict[str, int]:
        images = self._images
        missing = len(images.empty_rows()) if isinstance(images, PackedStrings) else images.nulls
        return {
            "rows": len(self),
            "missing_image": missing,
            "missing_caption": len(self._captions.empty_rows()),
        }

    def __repr__(self) -> str:
        return f"TableDataset({len(self):,} rows of {', '.join(map(str, self._files[:3]))})"

    def _file_of(self, row: int) -> int:
        return bisect.bisect_right(self._starts, row) - 1

    def _place(self, row: int) -> str:
        file = self._file_of(row)
        return f"{self._files[file]} row {row - self._starts[file] + 1}"

    def _read_image(self, row: int) -> Image.Image:
        found: str | bytes | None
        if isinstance(self._images, PackedStrings):
            found = self._images[row]
        else:
            found = self._images.read(row)
        if not found:
            raise self._sample_error(row, "missing_image", "its picture column is empty")
        if isinstance(found, str):
            root = self._roots[self._file_of(row)]
            found = read_inside(root, found, key=self.keys[row], follow_links=self._follow_links)
        return self._decoded(row, found)

    def _image_source(self) -> tuple[Any, np.ndarray | None] | None:
        if not isinstance(self._images, PackedStrings):
            return None  # pictures lie in the table itself
        blob, offsets = self._images.blob, self._images.offsets
        source = _core.ImageFiles(self._roots, self._starts, blob, offsets, self._follow_links)
        return source, None

    def _image_digests(self, rows: np.ndarray) -> np.ndarray:
        if not isinstance(self._images, PackedStrings):
            return super()._image_digests(rows)  # a look at a size would read the picture
        paths = [(self._roots[self._file_of(row)], self._images[row]) for row in rows.tolist()]
        return file_sizes(os.path.join(root, path) if path else "" for root, path in paths)

    def _caption_digests(self, rows: np.ndarray) -> np.ndarray:
        return _core.packed_caption_digests(self._captions.blob, self._captions.offsets, rows)

    def _read_caption(self, row: int) -> str | None:
        return self._captions[row]
