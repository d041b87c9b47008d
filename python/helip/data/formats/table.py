"""A table of pictures and captions, whatever its format, and the Parquet files of one.

Pictures named by path are read when they are asked for, pictures that lie in a Parquet column by
row group.
"""

from __future__ import annotations

import bisect
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from helip import _core
from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    needed,
)
from helip.common.files import require_regular, storage_errors
from helip.common.patterns import is_url
from helip.data.captions import CaptionPacker, PackedCaptions, texts_of
from helip.data.columns import Columns, choose_same_columns, first_text
from helip.data.dataset import KeyedDataset
from helip.data.formats.text_table import read_rows
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList, PackedStrings, StringPacker, first_of_equal
from helip.data.paths import file_sizes, read_inside

# Decoded row groups that a process keeps.
_KEPT_GROUPS = 2


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
        images: PackedStrings | ParquetImages,
        captions: PackedCaptions,
        texts: Mapping[str, PackedStrings],
        columns: Columns,
        options: OpenCall,
        lines: Mapping[str, int],
    ) -> None:
        self._lines = dict(lines)  # of text, that are no rows
        self.max_pixels, self.max_seconds = options.limits
        self._files = files
        self._starts, self._file_starts = starts, starts
        self._joined_rows = 0  # rows of the tables that went into the row of their picture
        self._table_rows: np.ndarray | None = None  # of each row, where that is another number
        self._follow_links = bool(options.follow_links)
        self._images, self._captions, self._labels = images, captions, texts.get("label")
        # Without a root, an absolute path is read wherever it lies.
        self._absolute_paths = options.root is None
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
                root = self._root_of(row)
                whole = os.path.normpath(os.path.join(root, path))
                if os.path.commonpath([root, whole]) != root:
                    raise InvalidArgumentError(
                        f"{self._place(row)}: {path!r} leaves the folder {root}; name the folder "
                        "that paths start from with root=, or write absolute paths without one"
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

    def _root_of(self, row: int) -> str:
        """The folder that the picture of a row lies in."""
        images = self._images
        if self._absolute_paths and isinstance(images, PackedStrings) and images[row][:1] == "/":
            return "/"
        return self._roots[self._file_of(row)]

    def _file_of(self, row: int) -> int:
        return bisect.bisect_right(self._starts, row) - 1

    def _place(self, row: int) -> str:
        file = self._file_of(row)
        before = self._starts[file]
        if self._table_rows is not None:
            row, before = int(self._table_rows[row]), self._file_starts[file]
        return f"{self._files[file]} row {row - before + 1}"

    def _read_image(self, row: int) -> Image.Image:
        found = self._image_bytes(row)
        if found is None:
            raise self._sample_error(row, "missing_image", "its picture column is empty")
        return self._decoded(row, found)

    def _image_path(self, row: int) -> str | None:
        path = self._images[row] if isinstance(self._images, PackedStrings) else ""
        return os.path.join(self._roots[self._file_of(row)], path) if path else None

    def _image_bytes(self, row: int) -> bytes | None:
        if not isinstance(self._images, PackedStrings):
            return self._images.read(row)
        if not (path := self._images[row]):
            return None
        links = self._follow_links
        return read_inside(self._root_of(row), path, key=self.keys[row], follow_links=links)

    def _image_source(self) -> tuple[Any, np.ndarray | None] | None:
        if not isinstance(self._images, PackedStrings):
            return None  # pictures lie in the table itself
        blob, offsets = self._images.blob, self._images.offsets
        links, absolute = self._follow_links, self._absolute_paths
        source = _core.ImageFiles(self._roots, self._starts, blob, offsets, links, absolute)
        return source, None

    def _image_digests(self, rows: np.ndarray) -> np.ndarray:
        if not isinstance(self._images, PackedStrings):
            return super()._image_digests(rows)  # a look at a size would read the picture
        paths = [(self._roots[self._file_of(row)], self._images[row]) for row in rows.tolist()]
        return file_sizes(os.path.join(root, path) if path else "" for root, path in paths)

    def _caption_digests(self, rows: np.ndarray) -> np.ndarray:
        return self._captions.digests(rows)

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


def open_tables(paths: Sequence[Path], options: OpenCall) -> TableDataset:
    """Open .csv, .tsv, .jsonl or .parquet files with the same columns as one data set."""
    options.refuse(("keys",), "tables; name a column with key_column=")
    kinds = sorted({path.suffix.lower() for path in paths})
    if len(kinds) > 1:
        raise InvalidArgumentError(
            f"tables of several kinds ({', '.join(kinds)}) given; open them one by one"
        )
    columns = None
    in_table: bool | None = None
    starts, captions, lines = [0], CaptionPacker(), Counter[str]()
    packers: dict[str, StringPacker] = {}
    for path in paths:
        schema = parquet_schema(path) if kinds == [".parquet"] else None
        header, rows = (schema.names, iter(())) if schema is not None else read_rows(path, lines)
        columns = choose_same_columns(columns, header, options, path)
        roles, before = columns.roles(), in_table
        in_table = schema is not None and _holds_bytes(schema.field(columns.image), path)
        if before not in (None, in_table):
            raise InvalidArgumentError(
                f"of {path} and {paths[0]} one holds paths of pictures, one the pictures; "
                "open them one by one"
            )
        if in_table:
            del roles["image"]
        for role in roles.keys() - {"caption"}:
            packers.setdefault(role, StringPacker())
        places = [header.index(name) for name in roles.values()]
        read = (
            ([row[at] for at in places] for row in rows)
            if schema is None
            else _parquet_rows(path, roles)
        )
        for cells in read:
            for role, cell in zip(roles, cells, strict=True):
                if role == "caption":
                    captions.append(texts_of(cell))
                else:
                    packers[role].append(first_text(cell))
        starts.append(len(captions))
    assert columns is not None
    texts = {role: PackedStrings(*packer.arrays()) for role, packer in packers.items()}
    images = ParquetImages(paths, columns.image) if in_table else texts.pop("image")
    return TableDataset(paths, starts, images, captions.packed(), texts, columns, options, lines)


def parquet_schema(path: Path) -> Any:
    """The ``pyarrow.Schema`` of a Parquet file."""
    with _parquet_file(path) as parquet:
        return parquet.schema_arrow


def parquet_columns(path: Path, names: Sequence[str]) -> Any:
    """A ``pyarrow.Table`` of these columns, which the file has."""
    with _parquet_file(path) as parquet:
        try:
            return parquet.read(columns=list(names), use_threads=False)
        except _damage() as error:
            raise CorruptError(
                f"{path}: the columns {', '.join(names)} cannot be read: {error}"
            ) from error


def _parquet_rows(path: Path, roles: Mapping[str, str]) -> Iterator[list[Any]]:
    """The cells of these columns, row by row; text for bytes."""
    names = list(dict.fromkeys(roles.values()))
    with _parquet_file(path) as parquet:
        try:
            # No threads: a worker that is forked later must not inherit a pool.
            for batch in parquet.iter_batches(columns=names, use_threads=False):
                cells = {name: batch.column(name).to_pylist() for name in names}
                for row in zip(*(cells[name] for name in roles.values()), strict=True):
                    yield [each.decode() if isinstance(each, bytes) else each for each in row]
        except _damage() as error:
            raise CorruptError(
                f"{path}: the columns {', '.join(names)} cannot be read: {error}"
            ) from error


class ParquetImages:
    """Pictures in a column of bytes, or of Hugging Face's struct of ``bytes`` and ``path``.

    Parquet can only be read by row group, so each process keeps the last two it decoded.
    Small row groups make random reading fast.
    """

    def __init__(self, paths: Sequence[Path], column: str) -> None:
        self._paths = paths
        self._states = [_state_of(path) for path in paths]
        self._column = column
        self.nulls = 0  # as far as the statistics of the files tell
        self._first_group: list[int] = []  # of each file
        starts = [0]
        for path in paths:
            self._first_group.append(len(starts) - 1)
            with _parquet_file(path) as parquet:
                for number in range(parquet.metadata.num_row_groups):
                    group = parquet.metadata.row_group(number)
                    starts.append(starts[-1] + group.num_rows)
                    self.nulls += _count_nulls(group, column)
        self._group_start = np.array(starts)  # int64 [groups + 1]
        self._groups: dict[int, Any] = {}

    def read(self, row: int) -> bytes | None:
        """Return the encoded picture of a row, None where the cell is null."""
        group = int(np.searchsorted(self._group_start, row, side="right")) - 1
        cells = self._groups.get(group)
        if cells is None:
            cells = self._read_group(group)
            for oldest in list(self._groups)[: 1 - _KEPT_GROUPS]:
                self._groups.pop(oldest, None)
            self._groups[group] = cells
        value = cells[row - int(self._group_start[group])].as_py()
        if isinstance(value, dict):
            value = value.get("bytes")
        return value or None

    def _read_group(self, group: int) -> Any:
        file = bisect.bisect_right(self._first_group, group) - 1
        path, number = self._paths[file], group - self._first_group[file]
        try:
            before, now = self._states[file], _state_of(path)
            if now != before:
                raise MismatchError(
                    f"{path} was changed after the data set was opened "
                    f"({before[0]:,} bytes then, {now[0]:,} now); open the data set again"
                )
            with _parquet_file(path) as parquet:
                table = parquet.read_row_group(number, columns=[self._column], use_threads=False)
        except _damage() as error:
            raise CorruptError(f"{path}: row group {number} cannot be read: {error}") from error
        return table.column(0)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_groups": {}}


def _state_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of change, by which a change under the reader is noticed."""
    with storage_errors("read", path):
        state = os.stat(path)
    return state.st_size, state.st_mtime_ns


def _count_nulls(group: Any, column: str) -> int:
    """Null cells of a row group according to its statistics, 0 where it has none."""
    leaves = map(group.column, range(group.num_columns))
    found = [leaf for leaf in leaves if leaf.path_in_schema in (column, f"{column}.bytes")]
    return sum(leaf.statistics.null_count or 0 for leaf in found if leaf.statistics)


def _holds_bytes(field: Any, path: Path) -> bool:
    import pyarrow
    from pyarrow import types

    kind = field.type
    if types.is_struct(kind):
        kind = next((each.type for each in kind if each.name == "bytes"), pyarrow.null())
    if types.is_binary(kind) or types.is_large_binary(kind):
        return True
    if types.is_string(kind) or types.is_large_string(kind):
        return False
    raise InvalidArgumentError(
        f"{path}: the image column {field.name!r} is of type {field.type}; it must hold paths, "
        "bytes, or a struct with bytes; name another with image_column=…"
    )


def _parquet_file(path: Path) -> Any:
    with needed(f"reading {path} needs pyarrow", "helip[data]"):
        import pyarrow.parquet as parquet
    try:
        require_regular(path)
        return parquet.ParquetFile(path, pre_buffer=False)
    except _damage() as error:
        # Arrow reports damage as an OSError without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageError(error.errno, f"cannot read: {error}", str(path)) from error
        raise CorruptError(f"{path} is not a whole Parquet file: {error}") from error


def _damage() -> tuple[type[Exception], ...]:
    import pyarrow

    return pyarrow.ArrowException, UnicodeDecodeError, OSError
