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
from helip.common.patterns import is_url
from helip.data.captions import PackedCaptions, texts_of
from helip.data.columns import Columns
from helip.data.dataset import KeyedDataset
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList, PackedStrings, first_of_equal
from helip.data.paths import file_sizes, read_inside


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
        captions: those of each row.
        texts: one text a row for each of ``key`` and ``label`` that has a column; empty where there
            is none. Without keys they are the paths, else row numbers.

    Rows of one picture make one row with the captions of all of them, where keys are the paths.
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
        captions: PackedCaptions,
        texts: Mapping[str, PackedStrings],
        columns: Columns,
        options: OpenCall,
        lines: Mapping[str, int] | None = None,
    ) -> None:
        self._lines = dict(lines or {})  # of text, that are no rows
        self.max_pixels, self.max_seconds = options.max_pixels, options.max_seconds
        self._files = files
        self._starts, self._file_starts = starts, starts
        self._joined_rows = 0  # rows of the tables that went into the row of their picture
        self._table_rows: np.ndarray | None = None  # of each row, where that is another number
        self._follow_links = options.follow_links
        self._images, self._captions, self._labels = images, captions, texts.get("label")
        self._roots = [
            os.path.realpath(options.root if options.root is not None else path.parent)
            for path in files
        ]
        if isinstance(images, PackedStrings):
            self._check_paths(images)
            if columns.key is None and not columns.number_rows:
                self._join_rows_of_one_picture(images)
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

    def _join_rows_of_one_picture(self, images: PackedStrings) -> None:
        """Give the first row of a picture the captions of its other rows, which go."""
        if len(set(self._roots)) > 1:
            return  # one path may be two pictures
        home, first = first_of_equal(images)
        if len(first) == len(images):
            return
        captions: list[list[str]] = [[] for _ in first]
        for row, place in enumerate(home.tolist()):
            captions[place] += self._captions[row]
        self._captions = PackedCaptions.of(map(texts_of, captions))
        self._images = PackedStrings.from_strings(images[row] for row in first.tolist())
        if self._labels is not None:
            self._labels = PackedStrings.from_strings(self._labels[row] for row in first.tolist())
        self._joined_rows, self._table_rows = len(images) - len(first), first
        self._starts = np.searchsorted(first, self._starts).tolist()

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
            **self._captions.counts(),
            **({"joined_rows": self._joined_rows} if self._joined_rows else {}),
            **self._lines,
        }

    def __repr__(self) -> str:
        return f"TableDataset({len(self):,} rows of {', '.join(map(str, self._files[:3]))})"

    def _file_of(self, row: int) -> int:
        return bisect.bisect_right(self._starts, row) - 1

    def _place(self, row: int) -> str:
        file = self._file_of(row)
        before = self._starts[file]
        if self._table_rows is not None:
            row, before = int(self._table_rows[row]), self._file_starts[file]
        return f"{self._files[file]} row {row - before + 1}"

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

    def _image_path(self, row: int) -> str | None:
        path = self._images[row] if isinstance(self._images, PackedStrings) else ""
        return os.path.join(self._roots[self._file_of(row)], path) if path else None

    def _image_bytes(self, row: int) -> bytes | None:
        return None if isinstance(self._images, PackedStrings) else self._images.read(row)

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
        return self._captions.digests(rows)

    def _read_caption(self, row: int) -> str | None:
        return self._captions[row][0]

    def _read_captions(self, row: int) -> list[str]:
        return self._captions[row]

    def image_groups(self) -> np.ndarray | None:
        images = self._images
        if not isinstance(images, PackedStrings):
            return None
        if len(set(self._roots)) > 1:  # one path may be two pictures
            images = PackedStrings.from_strings(
                path and os.path.join(self._roots[self._file_of(row)], path)
                for row, path in enumerate(images)
            )
        home, first = first_of_equal(images)
        return None if len(first) == len(home) else home + 1
