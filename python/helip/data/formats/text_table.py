"""Tables as text: CSV, TSV and JSON lines. Text columns are read once into flat arrays."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import CorruptError, InvalidArgumentError, StorageError
from helip.data.columns import Columns, choose_columns, first_text
from helip.data.formats.table import TableDataset, assemble
from helip.data.options import OpenCall
from helip.data.packed_strings import PackedStrings


def open_text_table(paths: Sequence[Path], options: OpenCall) -> TableDataset:
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
