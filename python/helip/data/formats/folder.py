"""A folder of pictures, with captions in text files of the same stem or in one table."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helip.common.errors import InvalidArgumentError, SampleError, StorageError
from helip.data.columns import choose_columns, first_text
from helip.data.dataset import ACCEPTED, Dataset
from helip.data.decoding import decode_image
from helip.data.formats.text_table import read_rows
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList, PackedStrings
from helip.data.paths import IMAGE_SUFFIXES, picture_files, read_inside

if TYPE_CHECKING:
    from PIL import Image

_TABLES = tuple(
    f"{stem}.{suffix}"
    for stem in ("metadata", "captions")
    for suffix in ("csv", "tsv", "jsonl", "json")
)


class FolderDataset(Dataset):
    """All pictures under a folder, and all rows of its table, sorted by key.

    A key is the path from the folder without its extension. The caption is that of the table
    (``metadata`` or ``captions`` as .csv, .tsv, .json or .jsonl, at the top), else the text file
    of the same stem. The label is that of the table, else the subfolder where there are several.
    """

    _duplicate_mend = "keys are paths without extension: rename or remove one"

    def __init__(self, folder: Path, options: OpenCall) -> None:
        options.refuse(("keys", "root", "key_column"), "a folder, whose keys are its paths")
        self.max_pixels = options.max_pixels
        self._root = os.path.realpath(folder)
        self._follow_links = options.follow_links
        self._ignored: Counter[str] = Counter()
        pictures, texts = self._walk()
        table = self._read_table(options)
        rows = sorted(pictures | table.keys(), key=lambda path: (_stem(path), path))
        if not rows:
            raise InvalidArgumentError(f"{folder} has no pictures and no table: {ACCEPTED}")
        self._paths = PackedStrings.from_strings(rows)
        self._keys = KeyList.from_strings(map(_stem, rows))
        self._check_keys()
        self._present = np.array([path in pictures for path in rows], dtype=np.bool_)
        self._has_text = np.array([_stem(path) in texts for path in rows], dtype=np.bool_)
        self._ignored["text"] = len(texts - set(map(_stem, rows)))
        self._captions = self._labels = None
        if table:
            cells = [table.get(path, ("", "")) for path in rows]
            self._captions = PackedStrings.from_strings(caption for caption, _ in cells)
            if any(label for _, label in cells):
                self._labels = PackedStrings.from_strings(label for _, label in cells)
        if self._labels is None and len({posixpath.dirname(path) for path in rows}) > 1:
            self._labels = PackedStrings.from_strings(map(posixpath.dirname, rows))

    def _walk(self) -> tuple[set[str], set[str]]:
        """Return the paths of the pictures, and the stems of the text files."""
        pictures, texts = set(), set()
        for path in self._files(self._root, set()):
            stem, suffix = posixpath.splitext(path)
            if suffix.lower() in IMAGE_SUFFIXES:
                pictures.add(path)
            elif suffix.lower() == ".txt":
                texts.add(stem)
            elif path not in _TABLES:
                self._ignored["other"] += 1
        return pictures, texts

    def _files(self, folder: str, above: set[tuple[int, int]]) -> Iterator[str]:
        """Yield the files under ``folder`` by their paths from the root."""
        try:
            state = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise StorageError(error.errno or 0, f"cannot list: {error}", folder) from error
        here = (state.st_dev, state.st_ino)
        if here in above:
            # A link to a folder above would go round for ever.
            self._ignored["link"] += 1
            return
        for entry in entries:
            if entry.name.startswith("."):
                self._ignored["hidden"] += 1
            elif entry.is_dir():
                if entry.is_symlink() and not self._follow_links:
                    self._ignored["link"] += 1
                else:
                    yield from self._files(entry.path, above | {here})
            else:
                yield os.path.relpath(entry.path, self._root)

    def _read_table(self, options: OpenCall) -> dict[str, tuple[str, str]]:
        """Return caption and label by picture path, from the one table at the top, if any."""
        found = [name for name in _TABLES if os.path.isfile(os.path.join(self._root, name))]
        if len(found) > 1:
            raise InvalidArgumentError(
                f"{self._root} has several tables ({', '.join(found)}); keep one, or open it as "
                "a table"
            )
        if not found:
            options.refuse(
                ("image_column", "caption_column", "label_column"), "a folder without a table"
            )
            return {}
        place = os.path.join(self._root, found[0])
        header, rows = read_rows(Path(place))
        columns = choose_columns(header, options, place)
        image, caption = header.index(columns.image), header.index(columns.caption)
        label = header.index(columns.label) if columns.label is not None else None
        table: dict[str, tuple[str, str]] = {}
        lines: dict[str, int] = {}
        for number, row in enumerate(rows, start=1):
            path = posixpath.normpath(first_text(row[image]) or ".")
            if path in (".", "..") or path.startswith(("/", "../")):
                raise InvalidArgumentError(
                    f"{place} row {number}: {row[image]!r} is no path inside of the folder"
                )
            if path in lines:
                raise InvalidArgumentError(
                    f"{place} names {path!r} in the rows {lines[path]} and {number}; keep one, or "
                    'open the table itself with key_column="row"'
                )
            lines[path] = number
            table[path] = (
                first_text(row[caption]),
                "" if label is None else first_text(row[label]),
            )
        return table

    @property
    def keys(self) -> KeyList:
        return self._keys

    def counts(self) -> dict[str, int]:
        captioned = self._has_text.copy()
        if self._captions is not None:
            captioned |= np.array([bool(text) for text in self._captions], dtype=np.bool_)
        return {
            "rows": len(self),
            "missing_image": int((~self._present).sum()),
            "missing_caption": int((~captioned).sum()),
            **{f"ignored_{reason}": n for reason, n in sorted(self._ignored.items()) if n},
        }

    def __repr__(self) -> str:
        return f"FolderDataset({len(self._keys):,} rows in {self._root})"

    def _place(self, row: int) -> str:
        return os.path.join(self._root, self._paths[row])

    def _read_image(self, row: int) -> Image.Image:
        key = self.keys[row]
        data = read_inside(self._root, self._paths[row], key=key, follow_links=self._follow_links)
        return decode_image(data, key=key, max_pixels=self.max_pixels)

    def _picture_source(self) -> tuple[Any, np.ndarray | None] | None:
        return picture_files([self._root], [0, len(self)], self._paths, self._follow_links), None

    def _read_caption(self, row: int) -> str | None:
        if self._captions is not None and (caption := self._captions[row]):
            return caption
        if not self._has_text[row]:
            return None
        try:
            data = read_inside(
                self._root,
                _stem(self._paths[row]) + ".txt",
                key=self.keys[row],
                follow_links=self._follow_links,
            )
            return data.decode("utf-8-sig")
        except SampleError as error:
            if error.reason == "missing_image":
                return None
            raise
        except UnicodeDecodeError as error:
            raise self._sample_error(
                row, "unreadable_caption", f"its text is not UTF-8: {error}"
            ) from error

    def _read_label(self, row: int) -> str | None:
        return (self._labels[row] or None) if self._labels is not None else None


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]
