"""A table of pictures and captions, whatever its format.

Pictures named by path are read when they are asked for, pictures that lie in a Parquet column by
row group.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.data.columns import Columns
from helip.data.dataset import Dataset
from helip.data.decoding import decode_image
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList, PackedStrings
from helip.data.paths import is_url, picture_files, read_inside

if TYPE_CHECKING:
    from PIL import Image


class StoredImages(Protocol):
    """Encoded pictures that lie in the table itself."""

    nulls: int  # rows without one

    def read(self, row: int) -> bytes | None: ...


class TableDataset(Dataset):
    """Rows of one or more tables.

    Args:
        files: the tables, and how many rows each has.
        images: paths of the pictures, or the reader of a Parquet column of bytes.
        captions: one text a row, empty where there is none.
        keys: None for the default: the path, else the row number.
        labels: one text a row, or None.
    """

    _duplicate_mend = (
        "keys must be unique: name a column of unique values with key_column=…, or pass key_column="
        '"row" to number the rows'
    )

    def __init__(
        self,
        files: Sequence[tuple[Path, int]],
        images: PackedStrings | StoredImages,
        captions: PackedStrings,
        keys: KeyList | None,
        labels: PackedStrings | None,
        options: OpenCall,
    ) -> None:
        self.max_pixels = options.max_pixels
        self._files = [path for path, _ in files]
        self._starts = np.cumsum([0, *(rows for _, rows in files)])  # int64 [files + 1]
        self._follow_links = options.follow_links
        self._images, self._captions, self._labels = images, captions, labels
        self._roots = [
            os.path.realpath(options.root if options.root is not None else path.parent)
            for path in self._files
        ]
        if isinstance(images, PackedStrings):
            self._check_paths(images)
        if keys is None and isinstance(images, PackedStrings):
            keys = KeyList.from_strings(path or f"row-{row:09d}" for row, path in enumerate(images))
        self._keys = KeyList.numbered(len(captions)) if keys is None else keys
        self._check_keys()

    def _check_paths(self, images: PackedStrings) -> None:
        """Refuse at once what could not be read later: addresses, and paths outside the root."""
        for row, path in enumerate(images):
            if is_url(path):
                raise InvalidArgumentError(
                    f"{self._place(row)}: {path!r} is an address, not a file, and helip never "
                    "downloads; fetch the pictures first, for instance with img2dataset"
                )
            root = self._roots[self._file_of(row)] if ".." in path or path[:1] == "/" else None
            if root is not None:
                whole = os.path.normpath(os.path.join(root, path))
                if os.path.commonpath([root, whole]) != root:
                    raise InvalidArgumentError(
                        f"{self._place(row)}: {path!r} leaves the folder {root}; pass root=… "
                        "to name the folder that the paths start from"
                    )

    @property
    def keys(self) -> KeyList:
        return self._keys

    def counts(self) -> dict[str, int]:
        images = self._images
        missing = images.count_empty() if isinstance(images, PackedStrings) else images.nulls
        return {
            "rows": len(self),
            "missing_image": missing,
            "missing_caption": self._captions.count_empty(),
        }

    def __repr__(self) -> str:
        return f"TableDataset({len(self._keys):,} rows of {', '.join(map(str, self._files[:3]))})"

    def _file_of(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def _place(self, row: int) -> str:
        file = self._file_of(row)
        return f"{self._files[file]} row {row - int(self._starts[file]) + 1}"

    def _read_image(self, row: int) -> Image.Image:
        key = self.keys[row]
        if isinstance(self._images, PackedStrings):
            path = self._images[row]
            if not path:
                raise self._sample_error(row, "missing_image", "its picture column is empty")
            root = self._roots[self._file_of(row)]
            data = read_inside(root, path, key=key, follow_links=self._follow_links)
        else:
            found = self._images.read(row)
            if found is None:
                raise self._sample_error(row, "missing_image", "its picture column is empty")
            data = found
        return decode_image(data, key=key, max_pixels=self.max_pixels)

    def _picture_source(self) -> tuple[Any, np.ndarray | None] | None:
        if not isinstance(self._images, PackedStrings):
            return None  # pictures lie in the table itself
        starts = self._starts.tolist()
        return picture_files(self._roots, starts, self._images, self._follow_links), None

    def _read_caption(self, row: int) -> str | None:
        return self._captions[row]

    def _read_label(self, row: int) -> str | None:
        return (self._labels[row] or None) if self._labels is not None else None


def assemble(
    files: Sequence[tuple[Path, int]],
    images: PackedStrings | StoredImages,
    captions: PackedStrings,
    others: Sequence[PackedStrings],
    columns: Columns,
    options: OpenCall,
) -> TableDataset:
    """Make the data set from packed columns; ``others`` are key and label, if chosen."""
    rest = list(others)
    keys = None
    if columns.key is not None:
        column = rest.pop(0)
        for row in range(len(column)) if column.count_empty() else ():
            if column.is_empty(row):
                raise InvalidArgumentError(
                    f"{files[0][0]}: row {row + 1} has no key in the column {columns.key!r}; "
                    "fill it in, or leave key_column out"
                )
        keys = KeyList.from_strings(column)
    elif columns.number_rows:
        keys = KeyList.numbered(len(captions))
    labels = rest.pop(0) if columns.label is not None else None
    return TableDataset(files, images, captions, keys, labels, options)
