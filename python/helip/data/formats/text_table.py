"""Tables as text: CSV, TSV and JSON lines. Text columns are read once into flat arrays."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.common.files import storage_errors
from helip.data.columns import choose_same_columns, first_text
from helip.data.formats.table import TableDataset
from helip.data.options import OpenCall
from helip.data.packed_strings import PackedStrings, StringPacker


def open_text_table(paths: Sequence[Path], options: OpenCall) -> TableDataset:
    """Open .csv, .tsv or .jsonl files with the same columns as one data set."""
    columns = None
    starts = [0]
    packers: dict[str, StringPacker] = {}
    for path in paths:
        header, rows = read_rows(path)
        columns = choose_same_columns(columns, header, options, path)
        places = {role: header.index(name) for role, name in columns.roles().items()}
        packers = packers or {role: StringPacker() for role in places}
        for row in rows:
            for role, place in places.items():
                packers[role].append(first_text(row[place]))
        starts.append(len(packers["image"]))
    assert columns is not None
    texts = {role: PackedStrings(*packer.arrays()) for role, packer in packers.items()}
    return TableDataset(paths, starts, texts.pop("image"), texts, columns, options)


def read_rows(path: Path) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """Return the column names of a .csv, .tsv, .json or .jsonl file, and its rows in order.

    Raises:
        CorruptError: on a row of another length, wrong quoting or text that is not UTF-8, with
            the line.
    """
    suffix = path.suffix.lower()
    with storage_errors("read", path):
        if suffix in (".csv", ".tsv"):
            return _read_separated(path)
        return _read_json(path, lines=suffix == ".jsonl")


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
