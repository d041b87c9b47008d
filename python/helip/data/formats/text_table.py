"""Rows of tables that are text: CSV, TSV, JSON lines and JSON."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.common.files import reading_file


def read_rows(path: Path, lines: Counter[str]) -> tuple[list[str], Iterator[Sequence[Any]]]:
    """Return the column names of a .csv, .tsv, .json or .jsonl file, and its rows in order.

    ``lines`` counts ``joined_lines``: those that a quoted field made one row with the line before.

    Raises:
        CorruptError: on a row of another length, wrong quoting or text that is not UTF-8, with
            the line.
    """
    with reading_file(path):
        if path.suffix.lower() in (".csv", ".tsv"):
            rows = _separated_rows(path, lines)
            return [name.strip() for name in next(rows)], rows
        # A record may lack what a later one has, so that all are read once for their names.
        header = list(dict.fromkeys(name for record in _json_records(path) for name in record))
    if not header:
        raise InvalidArgumentError(f"{path} holds no records")
    return header, ([record.get(name) for name in header] for record in _json_records(path))


def _separated_rows(path: Path, lines: Counter[str]) -> Iterator[Sequence[str]]:
    """The header, then the rows."""
    line = 0  # the last that was read
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            first = file.readline(1 << 20)
            if not first.strip():
                raise InvalidArgumentError(
                    f"{path} has no header; its first line must name the columns, such as "
                    "image,caption"
                )
            usual = "\t" if path.suffix.lower() == ".tsv" else ","
            separator = usual if usual in first else next((s for s in "\t,;|" if s in first), usual)
            file.seek(0)
            # strict: a stray quote would otherwise swallow rows up to the next one in silence.
            reader = csv.reader(file, delimiter=separator, strict=True)
            width = 0
            for row in reader:
                joined, line = reader.line_num - line - 1, reader.line_num
                if not row:  # an empty line
                    continue
                if joined:
                    lines["joined_lines"] += joined
                width = width or len(row)
                if len(row) != width:
                    raise CorruptError(
                        f"{path} line {line} has {len(row)} fields, the header {width}; quote "
                        f"fields that hold the separator {separator!r}"
                    )
                yield row
        except csv.Error as error:
            raise CorruptError(
                f"{path} line {reader.line_num}: {error}; a field that starts with a quote must "
                "be quoted as a whole, with the quotes in it doubled"
            ) from error
        except UnicodeDecodeError as error:
            raise CorruptError(f"{path} line {_undecodable(path)} is not UTF-8: {error}") from error


def _undecodable(path: Path) -> int:
    """The first line that is not UTF-8; the reader decodes blocks, and is ahead of it."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


def _json_records(path: Path) -> Iterator[dict[str, Any]]:
    for value in _json_lines(path) if path.suffix.lower() == ".jsonl" else _json_whole(path):
        if not isinstance(value, dict):
            raise CorruptError(
                f'{path} must hold objects such as {{"file_name": …, "caption": …}}, '
                f"not {str(value)[:60]!r}"
            )
        yield value


def _json_lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield parse_json(line, f"{path} line {number}")


def _json_whole(path: Path) -> list[Any]:
    value = parse_json(path.read_bytes(), str(path))
    if isinstance(value, dict) and isinstance(value.get("images"), list):
        return _annotated(value["images"], value.get("annotations"), str(path))
    if isinstance(value, dict):
        # {"a.jpg": "a caption"}
        return [{"file_name": name, "caption": text} for name, text in value.items()]
    return value if isinstance(value, list) else [value]


def _annotated(images: list[Any], annotations: Any, where: str) -> list[Any]:
    """Pictures with all of their captions, of COCO's annotations or Karpathy's splits of Flickr.

    COCO: images {"id", "file_name"}, annotations {"image_id", "caption"}. Karpathy's: images
    {"filename", "sentences": [{"raw"}]}.
    """
    try:
        captions: dict[Any, list[Any]] = {}
        for note in annotations or ():
            captions.setdefault(note["image_id"], []).append(note["caption"])
        return [
            {
                "file_name": image.get("file_name") or image["filename"],
                "caption": [sentence["raw"] for sentence in image["sentences"]]
                if annotations is None
                else captions.get(image["id"], []),
            }
            for image in images
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptError(
            f"{where} has images, but neither COCO's annotations (image_id, caption) nor "
            f"Karpathy's sentences (raw): {type(error).__name__}: {error}"
        ) from error


def parse_json(text: bytes, where: str) -> Any:
    """What JSON text holds; CorruptError, which begins with ``where``, for any other."""
    try:
        return json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{where} is not valid JSON: {error}") from error
