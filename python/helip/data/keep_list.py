"""Keep lists: a table that says of each row of a data set whether it stays, and why not.

`helip.curate` writes them as CSV and Parquet. The columns that are read are ``key`` and ``keep``
(true or false, 1 or 0), and ``reason`` where there is one.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, needed
from helip.common.files import read_text, reading_file
from helip.common.text import first_of

COLUMNS = ("key", "keep", "reason", "score", "flags", "duplicate_of")
_NEEDED = ("key", "keep")
_BOOLS = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True)
class KeepList:
    """What a list says of each of its keys."""

    keep: Mapping[str, bool]
    reasons: Mapping[str, str]  # of keys that go, "" without one

    def rows(self, data: Any, words: str) -> tuple[np.ndarray, dict[str, int]]:
        """int64 [n]: the rows of ``data`` that stay, ascending; and how many go by reason.

        InvalidArgumentError: keys that only the list or only the data have.
        """
        rows, unknown, found = [], [], 0
        gone: Counter[str] = Counter()
        for row, key in enumerate(data.keys):
            stays = self.keep.get(key)
            if stays is None:
                unknown.append(key)
                continue
            found += 1
            if stays:
                rows.append(row)
            else:
                gone[self.reasons.get(key) or "without_reason"] += 1
        if found < len(self.keep):
            there = set(data.keys)
            missing = [key for key in self.keep if key not in there]
            raise InvalidArgumentError(
                f"{words}, and {len(missing):,} of its {len(self.keep):,} keys are not in the "
                f"data: {first_of(map(repr, missing))}; open the data that were curated"
            )
        if unknown:
            raise InvalidArgumentError(
                f"{words}, which says nothing of {len(unknown):,} of the {len(data.keys):,} rows: "
                f"{first_of(map(repr, unknown))}; open the data that were curated, or curate these "
                "again"
            )
        return np.array(rows, dtype=np.int64), dict(sorted(gone.items()))


def read_keep_list(path: Path, words: str) -> KeepList | None:
    """The list at ``path``, a .csv or .parquet file; None where a .csv is none by its header.

    ``words`` begin messages. InvalidArgumentError: columns are missing, a value of ``keep`` is no
    bool, a key stands there twice, there is no row. StorageError: it cannot be read.
    """
    read = _read_parquet if path.suffix.lower() == ".parquet" else _read_csv
    columns = read(path, words)
    if columns is None:
        return None
    keys, kept, reasons = columns
    if not keys:
        raise InvalidArgumentError(f"{words}, a keep list without rows; write it again")
    keep: dict[str, bool] = {}
    for place, (key, value) in enumerate(zip(keys, kept, strict=True), start=1):
        said = value if isinstance(value, bool) else _BOOLS.get(str(value).strip().lower())
        if said is None:
            raise InvalidArgumentError(
                f"{words}, whose row {place} has keep {value!r}, must be 1 or 0, true or false"
            )
        if key in keep:
            raise InvalidArgumentError(
                f"{words}, which names the key {key!r} more than once; keep one of its rows"
            )
        keep[key] = said
    gone = {k: r or "" for k, r in zip(keys, reasons, strict=True) if not keep[k]}
    return KeepList(keep, gone)


Columns = tuple[list[str], list[Any], list[Any]]


def _read_csv(path: Path, words: str) -> Columns | None:
    lines = csv.reader(io.StringIO(read_text(path, words), newline=""))
    header = next(lines, [])
    if not set(_NEEDED) <= set(header):
        return None
    places = [header.index(name) for name in _NEEDED]
    reason = header.index("reason") if "reason" in header else None
    keys, kept, reasons = [], [], []
    for line in lines:
        if len(line) != len(header):
            raise InvalidArgumentError(
                f"{words}, whose line {lines.line_num} has {len(line)} fields, the header "
                f"{len(header)}; write it again"
            )
        keys.append(line[places[0]])
        kept.append(line[places[1]])
        reasons.append("" if reason is None else line[reason])
    return keys, kept, reasons


def _read_parquet(path: Path, words: str) -> Columns:
    with needed("a keep list in Parquet needs pyarrow", "pyarrow"):
        from pyarrow import ArrowException, parquet
    with reading_file(path):
        try:
            table = parquet.read_table(path)
        except ArrowException as error:
            raise InvalidArgumentError(
                f"{words} is no Parquet file ({error!s:.100}); write it again"
            ) from error
    if missing := [name for name in _NEEDED if name not in table.column_names]:
        raise InvalidArgumentError(
            f"{words} has no column {missing[0]!r}; its columns are "
            f"{', '.join(table.column_names)}, and a keep list has key and keep"
        )
    count = table.num_rows
    reasons = table["reason"].to_pylist() if "reason" in table.column_names else [""] * count
    return [str(key) for key in table["key"].to_pylist()], table["keep"].to_pylist(), reasons
