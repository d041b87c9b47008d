"""Tables of pictures and captions: CSV, TSV, JSON lines and Parquet.

Text columns are read once into flat arrays. Pictures named by path are read when they are asked
for, pictures that lie in a Parquet column by row group.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helip.common.errors import CorruptError, InvalidArgumentError, StorageError
from helip.data.columns import Columns, choose_columns
from helip.data.dataset import Dataset
from helip.data.decoding import decode_image
from helip.data.options import OpenCall
from helip.data.packed_strings import KeyList, PackedStrings
from helip.data.paths import is_url, picture_files, read_inside

if TYPE_CHECKING:
    from PIL import Image

    from helip.data.formats.parquet import ParquetImages


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
        images: PackedStrings | ParquetImages,
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


def open_table(paths: Sequence[Path], options: OpenCall) -> TableDataset:
    """Open .csv, .tsv, .jsonl or .parquet files of one kind as one data set."""
    options.refuse(("keys",), "tables; name a column with key_column=")
    kinds = {path.suffix.lower() for path in paths}
    if len(kinds) > 1:
        raise InvalidArgumentError(
            f"tables of several kinds ({', '.join(sorted(kinds))}) given; open them one by one"
        )
    if kinds == {".parquet"}:
        from helip.data.formats.parquet import open_parquet

        return open_parquet(paths, options)
    return _open_text(paths, options)


def _open_text(paths: Sequence[Path], options: OpenCall) -> TableDataset:
    names, columns = None, None
    parts: list[tuple[PackedStrings, ...]] = []
    for path in paths:
        header, rows = read_rows(path)
        chosen = choose_columns(header, options, str(path))
        if columns is not None and chosen != columns:
            raise InvalidArgumentError(
                f"{path} has the columns {header}, the first table {names}; open them one by one"
            )
        names, columns = header, chosen
        parts.append(_pack_columns(header, rows, chosen))
    assert columns is not None
    files = [(path, len(part[0])) for path, part in zip(paths, parts, strict=True)]
    packed = [
        column[0] if len(column) == 1 else PackedStrings.from_strings(chain(*column))
        for column in zip(*parts, strict=True)
    ]
    return assemble(files, packed[0], packed[1], packed[2:], columns, options)


def assemble(
    files: Sequence[tuple[Path, int]],
    images: PackedStrings | ParquetImages,
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


def _pack_columns(
    header: Sequence[str], rows: Iterator[Sequence[Any]], columns: Columns
) -> tuple[PackedStrings, ...]:
    """Pack the chosen columns in one pass over the rows."""
    wanted = [columns.image, columns.caption]
    wanted += [name for name in (columns.key, columns.label) if name is not None]
    places = [header.index(name) for name in wanted]
    # One blob a column, filled side by side.
    blobs = [bytearray() for _ in places]
    ends: list[list[np.ndarray]] = [[] for _ in places]
    pending: list[list[int]] = [[0] for _ in places]
    for row in rows:
        for column, place in enumerate(places):
            blobs[column] += first_text(row[place]).encode("utf-8", "surrogatepass")
            pending[column].append(len(blobs[column]))
        if len(pending[0]) >= 65536:
            for column, values in enumerate(pending):
                ends[column].append(np.array(values, dtype=np.int64))
                values.clear()
    return tuple(
        PackedStrings(bytes(blob), np.concatenate([*done, np.array(values, dtype=np.int64)]))
        for blob, done, values in zip(blobs, ends, pending, strict=True)
    )


def first_text(value: Any) -> str:
    """Return a cell as stripped text: the first of a list of captions, "" for an absent one."""
    if isinstance(value, (list, tuple)):
        value = next((item for item in value if isinstance(item, str) and item.strip()), "")
    if value is None or isinstance(value, (dict, float, bool)):
        return ""
    return str(value).strip()


def read_rows(path: Path) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """Return the column names of a .csv, .tsv, .json or .jsonl file, and its rows in order.

    Raises:
        CorruptError: on a row of another length, wrong quoting or text that is not UTF-8, with
            the line.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in (".csv", ".tsv"):
            return _read_separated(path)
        return _read_json(path, lines=suffix == ".jsonl")
    except OSError as error:
        raise StorageError(error.errno or 0, f"cannot read: {error}", str(path)) from error


def _read_separated(path: Path) -> tuple[list[str], Iterator[Sequence[str]]]:
    # Opened again for the rows, so that a caller who never asks for them leaves no open file.
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(1 << 20)
    except UnicodeDecodeError as error:
        raise CorruptError(f"{path} line 1 is not UTF-8: {error}") from error
    if not first.strip():
        raise InvalidArgumentError(
            f"{path} has no header; its first line must name the columns, such as image,caption"
        )
    usual = "\t" if path.suffix.lower() == ".tsv" else ","
    separator = usual if usual in first else next((s for s in "\t,;|" if s in first), usual)
    try:
        header = next(csv.reader([first], delimiter=separator, strict=True))
    except csv.Error as error:
        raise CorruptError(f"{path} line 1: {error}") from error
    return [name.strip() for name in header], _separated_rows(path, separator, len(header))


def _separated_rows(path: Path, separator: str, width: int) -> Iterator[Sequence[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        # strict: a stray quote would otherwise swallow rows up to the next one in silence.
        reader = csv.reader(file, delimiter=separator, strict=True)
        try:
            next(reader)
            for row in reader:
                if row and len(row) != width:
                    raise CorruptError(
                        f"{path} line {reader.line_num} has {len(row)} fields, the header "
                        f"{width}; quote fields that hold the separator {separator!r}"
                    )
                if row:
                    yield row
        except csv.Error as error:
            raise CorruptError(
                f"{path} line {reader.line_num}: {error}; a field that starts with a quote must "
                "be quoted as a whole, with the quotes in it doubled"
            ) from error
        except UnicodeDecodeError as error:
            raise CorruptError(
                f"{path} after line {reader.line_num} is not UTF-8: {error}"
            ) from error


def _read_json(path: Path, *, lines: bool) -> tuple[list[str], Iterator[Sequence[Any]]]:
    records = _json_lines(path) if lines else _json_whole(path)
    first = next(records, None)
    if first is None:
        raise InvalidArgumentError(f"{path} holds no records")
    header = list(first)
    return header, ([record.get(name) for name in header] for record in chain([first], records))


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield from _records([_parse_json(line, f"{path} line {number}")], path)


def _json_whole(path: Path) -> Iterator[dict[str, Any]]:
    value = _parse_json(path.read_bytes(), str(path))
    if isinstance(value, dict):
        # {"a.jpg": "a caption"}
        value = [{"file_name": name, "caption": text} for name, text in value.items()]
    yield from _records(value if isinstance(value, list) else [value], path)


def _parse_json(text: bytes, where: str) -> Any:
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{where} is not JSON: {error}") from error


def _records(values: Iterable[Any], path: Path) -> Iterator[dict[str, Any]]:
    for value in values:
        if not isinstance(value, dict):
            raise CorruptError(
                f'{path} must hold objects such as {{"file_name": …, "caption": …}}, '
                f"not {str(value)[:60]!r}"
            )
        yield value
