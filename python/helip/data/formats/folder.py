"""A folder of pictures, with captions in text files of the same stem or in one table."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helip import _core
from helip.common.errors import InvalidArgumentError, SampleError
from helip.common.files import storage_errors
from helip.data.captions import PackedCaptions, texts_of
from helip.data.columns import choose_columns, first_text
from helip.data.dataset import ACCEPTED, KeyedDataset
from helip.data.formats.text_table import read_rows
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList, PackedStrings
from helip.data.paths import IMAGE_SUFFIXES, file_sizes, read_inside

_TABLES = tuple(
    f"{stem}.{suffix}"
    for stem in ("metadata", "captions")
    for suffix in ("csv", "tsv", "jsonl", "json")
)
_NAMED = 3  # ignored files of a kind


class FolderDataset(KeyedDataset):
    """All pictures under a folder, and all rows of its table, sorted by key.

    A key is the path from the folder without its extension. The caption is that of the table
    (``metadata`` or ``captions`` as .csv, .tsv, .json or .jsonl, at the top), else the text file
    of the same stem; a picture that the table names in several rows has the captions of all of
    them. The label is that of the table, else the subfolder where there are several.
    """

    _duplicate_mend = "keys are paths without extension: rename or remove one"

    def __init__(self, folder: Path, options: OpenCall) -> None:
        options.refuse(("keys", "root", "key_column"), "a folder, whose keys are its paths")
        self.max_pixels, self.max_seconds = options.limits
        self._root = os.path.realpath(folder)
        self._follow_links = bool(options.follow_links)
        self._ignored: Counter[str] = Counter()
        self._lines: Counter[str] = Counter()  # of the table, that are no rows
        self.ignored_files = []
        self._joined_rows = 0  # rows of the table that name a picture of an earlier row
        pictures, texts = self._walk()
        table = self._read_table(options)
        rows = sorted(pictures | table.keys(), key=lambda path: (_stem(path), path))
        if not rows:
            raise InvalidArgumentError(f"{folder} has no pictures and no table: {ACCEPTED}")
        self._paths = PackedStrings.from_strings(rows)
        self._take_keys(KeyList.from_strings(map(_stem, rows)))
        self._present = np.array([path in pictures for path in rows], dtype=np.bool_)
        self._has_text = np.array([_stem(path) in texts for path in rows], dtype=np.bool_)
        alone = sorted(texts - set(map(_stem, rows)))
        self._ignored["text"] = len(alone)
        self.ignored_files += [f"{stem}.txt" for stem in alone[:_NAMED]]
        cells = [table.get(path, ([], "")) for path in rows]
        self._captions = PackedCaptions.of(captions for captions, _ in cells)
        if any(label for _, label in cells):
            self._labels = PackedStrings.from_strings(label for _, label in cells)
        elif len({posixpath.dirname(path) for path in rows}) > 1:
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
                self.ignored_files = sorted([*self.ignored_files, path])[:_NAMED]
        return pictures, texts

    def _files(self, folder: str, above: set[tuple[int, int]]) -> Iterator[str]:
        """Yield the files under ``folder`` by their paths from the root."""
        with storage_errors("list", folder):
            state = os.stat(folder)
            entries = list(os.scandir(folder))
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

    def _read_table(self, options: OpenCall) -> dict[str, tuple[list[str], str]]:
        """Return captions and label by picture path, from the one table at the top, if any."""
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
        header, rows = read_rows(Path(place), self._lines)
        columns = choose_columns(header, options, place)
        places = {role: header.index(name) for role, name in columns.roles().items()}
        caption_place = places.pop("caption")
        table: dict[str, tuple[list[str], str]] = {}
        for number, row in enumerate(rows, start=1):
            cells = {role: first_text(row[column]) for role, column in places.items()}
            path = posixpath.normpath(cells["image"] or ".")
            if path in (".", "..") or path.startswith(("/", "../")):
                raise InvalidArgumentError(
                    f"{place} row {number}: {cells['image']!r} is no path inside of the folder"
                )
            captions, label = table.get(path, ([], cells.get("label", "")))
            self._joined_rows += path in table
            table[path] = texts_of([*captions, *texts_of(row[caption_place])]), label
        return table

    def counts(self) -> dict[str, int]:
        return {
            "rows": len(self),
            "missing_image": int((~self._present).sum()),
            "missing_caption": int((~self._has_text[self._captions.empty_rows()]).sum()),
            **self._captions.counts(),
            **({"joined_rows": self._joined_rows} if self._joined_rows else {}),
            **self._lines,
            **{f"ignored_{reason}": n for reason, n in sorted(self._ignored.items()) if n},
        }

    def __repr__(self) -> str:
        return f"FolderDataset({len(self):,} rows in {self._root})"

    def _place(self, row: int) -> str:
        return os.path.join(self._root, self._paths[row])

    def _read_image(self, row: int) -> Image.Image:
        return self._decoded(row, self._image_bytes(row))

    def _image_bytes(self, row: int) -> bytes:
        return self._read_file(row, self._paths[row])

    def _image_path(self, row: int) -> str | None:
        return os.path.join(self._root, self._paths[row]) if self._present[row] else None

    def _image_source(self) -> tuple[Any, np.ndarray | None] | None:
        blob, offsets, starts = self._paths.blob, self._paths.offsets, [0, len(self)]
        links = self._follow_links
        return _core.ImageFiles([self._root], starts, blob, offsets, links, False), None

    def _read_captions(self, row: int) -> list[str | None]:
        captions = self._captions[row]
        if captions[0] or not self._has_text[row]:
            return [*captions]
        try:
            return [self._utf8(row, self._read_file(row, _stem(self._paths[row]) + ".txt"))]
        except SampleError as error:
            if error.reason == "missing_image":
                return []
            raise

    def _image_digests(self, rows: np.ndarray) -> np.ndarray:
        return file_sizes(os.path.join(self._root, self._paths[row]) for row in rows.tolist())

    def _read_file(self, row: int, path: str) -> bytes:
        key = self.keys[row]
        return read_inside(self._root, path, key=key, follow_links=self._follow_links)


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]
