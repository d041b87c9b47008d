"""Verdicts as CSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from helip.common.errors import InvalidArgumentError, needed
from helip.common.files import named_file, publish_file
from helip.common.options import check
from helip.verdicts.decisions import VERDICTS
from helip.verdicts.verdicts import Verdicts

What = Literal["verdicts", "decisions", "history"]

_VOTES = {verdict: verdict.replace(" ", "_") for verdict in VERDICTS}
_OF_PEOPLE = {
    "id": str, "time": str, "person": str, "verdict": str, "target": int, "hard": int,
    "target_key": str, "hard_key": str, "undone": bool,
}  # fmt: skip
_OF_DECISIONS = {
    "row": int, "other": int, "verdict": str, "people": int, **dict.fromkeys(_VOTES.values(), int),
}  # fmt: skip


def export_verdicts(
    verdicts: Verdicts,
    path: str | os.PathLike[str],
    *,
    what: What = "verdicts",
    overwrite: bool = False,
) -> int:
    """Writes a file by its ending, ``.csv``, ``.jsonl`` or ``.parquet``; returns its rows.

    ``what``: ``verdicts``, the newest of each person, or all of ``history``, with the columns
    ``id, time, person, verdict, target, hard, target_key, hard_key, undone``; or ``decisions``,
    with ``row, other, verdict, people`` and the votes for each verdict. What is not known is empty,
    in JSON null.

    Raises:
        InvalidArgumentError: another ending; a file is there, and ``overwrite`` is False.
            UnsupportedError: Parquet without pyarrow. StorageError: the disk refuses.
    """
    check("what", what, What)
    place = Path(named_file(path))
    write = _WRITERS.get(place.suffix.lower())
    if write is None:
        raise InvalidArgumentError(
            f"path is {os.fspath(path)!r}, must end in {', '.join(_WRITERS)}; the ending says what "
            "is written"
        )
    columns: dict[str, type] = _OF_DECISIONS if what == "decisions" else _OF_PEOPLE
    rows = list(_rows(verdicts, what))
    with publish_file(place, overwrite=overwrite) as temporary:
        write(temporary, columns, rows)
    return len(rows)


def _rows(verdicts: Verdicts, what: What) -> Iterator[dict[str, Any]]:
    if what != "decisions":
        for each in verdicts.history() if what == "history" else verdicts:
            yield each.to_dict()
        return
    for decision in verdicts.decided().values():
        votes = {column: decision.votes.get(verdict, 0) for verdict, column in _VOTES.items()}
        row, other = decision.rows
        yield {
            "row": row, "other": other, "verdict": decision.verdict, "people": decision.people,
            **votes,
        }  # fmt: skip


def _csv(path: Path, columns: dict[str, type], rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _json_lines(path: Path, columns: dict[str, type], rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _parquet(path: Path, columns: dict[str, type], rows: list[dict[str, Any]]) -> None:
    with needed("Parquet needs the pyarrow library", "helip[data]"):
        import pyarrow
        import pyarrow.parquet
    kinds = {int: pyarrow.int64(), str: pyarrow.string(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), path)


_WRITERS: dict[str, Callable[[Path, dict[str, type], list[dict[str, Any]]], None]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
