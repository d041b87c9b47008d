"""Some rows of a data set, as ``subset`` and ``limit`` ask for them, and what they leave out.

``subset`` may name a keep list: a table that says of each row whether it stays, and why not.
`helip.curate` writes them as CSV and Parquet. The columns that are read are ``key`` and ``keep``
(true or false, 1 or 0), and ``reason`` where there is one.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, needed
from helip.common.files import read_text, reading_file, text_lines
from helip.common.text import first_of
from helip.data.dataset import Dataset, Subset, row_numbers
from helip.data.options import OpenOptions

#: Of a keep list.
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


_SHOWN = 3


class Selection(Subset):
    """The rows of a data set that ``subset`` and ``limit`` leave, in the order of the data."""

    def __init__(self, parent: Dataset, rows: np.ndarray, left_out: Mapping[str, int]) -> None:
        super().__init__(parent, rows)
        self._left_out = {f"left_out_{name}": n for name, n in left_out.items() if n}

    @property
    def source(self) -> Dataset:
        """The data set that the rows were chosen from."""
        return self._parent

    def counts(self) -> dict[str, int]:
        """``rows``, ``source_rows``, and how many ``left_out_subset`` and ``left_out_limit``; of a
        keep list also ``left_out_subset_REASON`` for each reason."""
        return {"rows": len(self), "source_rows": len(self._parent), **self._left_out}

    def __repr__(self) -> str:
        return f"Selection({len(self):,} rows of {self._parent!r})"


def selected(data: Dataset, options: OpenOptions) -> Dataset:
    """The rows of ``data`` that ``subset`` names, of these the first ``limit``; ``data`` itself
    where nothing is left out.

    Raises:
        InvalidArgumentError: keys or rows that the data do not have, no row left, no such file.
    """
    left_out = {"subset": 0, "limit": 0}
    rows = np.arange(len(data), dtype=np.int64)
    if options.subset is not None:
        rows, reasons = _chosen(data, options.subset)
        left_out["subset"] = len(data) - len(rows)
        left_out |= {f"subset_{reason}": count for reason, count in reasons.items()}
    if options.limit is not None:
        left_out["limit"] = max(len(rows) - options.limit, 0)
        rows = rows[: options.limit]
    return Selection(data, rows, left_out) if len(rows) < len(data) else data


def _chosen(data: Dataset, given: Any) -> tuple[np.ndarray, dict[str, int]]:
    """int64 [n]: the rows that ``subset`` names, ascending; and why others go, of a keep list."""
    words = f"a {type(given).__name__}"
    reasons: dict[str, int] = {}
    if isinstance(given, (str, os.PathLike)):
        words, given = repr(os.fspath(given)), _read_subset(Path(given))
    elif hasattr(given, "detach"):  # a tensor
        given = given.detach().cpu().numpy()
    elif hasattr(given, "to_pylist"):  # pyarrow's, whose elements are no str
        given = given.to_pylist()
    if isinstance(given, np.ndarray) and given.dtype.kind == "O":  # keys of a pandas column
        given = given.ravel().tolist()
    if not isinstance(given, (np.ndarray, KeepList)):
        given = _as_list_or_array(given)
    if isinstance(given, np.ndarray) and given.dtype.kind in "US":
        given = _as_text(given, words)
    if isinstance(given, KeepList):
        rows, reasons = given.rows(data, f"subset is {words}")
    elif isinstance(given, list):
        rows = _by_key(data, given, words)
    else:
        rows = np.sort(row_numbers(given, len(data), f"subset is {words}"))
    if not len(rows):
        raise InvalidArgumentError(
            f"subset is {words}, which names none of the {len(data):,} rows; name one at least, or "
            "leave it out"
        )
    return rows, reasons


def _as_list_or_array(given: Any) -> list[str] | np.ndarray:
    """Keys as a list, anything else as an array."""
    try:
        listed = list(given)
        return listed if all(isinstance(each, str) for each in listed) else np.asarray(listed)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"subset is {given!r:.100}; it must be a path, keys, row numbers or one bool a row"
        ) from error


def _as_text(keys: np.ndarray, words: str) -> list[str]:
    try:
        text = np.char.decode(keys, "utf-8") if keys.dtype.kind == "S" else keys
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"subset is {words}, which holds bytes that are not UTF-8 ({error}); give keys as str"
        ) from error
    return list(map(str, text.ravel().tolist()))


def _by_key(data: Dataset, keys: list[str], words: str) -> np.ndarray:
    wanted = dict.fromkeys(keys, False)
    rows = []
    for row, key in enumerate(data.keys):
        if key in wanted:
            wanted[key] = True
            rows.append(row)
    missing = [key for key, there in wanted.items() if not there]
    if missing:
        raise InvalidArgumentError(
            f"subset is {words}, and {len(missing):,} of its {len(wanted):,} keys are not in the "
            f"data: {first_of(map(repr, missing))}; the keys of the data are such as "
            f"{', '.join(map(repr, data.keys[:_SHOWN]))}. Remove those, or open the data that "
            "they are of"
        )
    return np.array(rows, dtype=np.int64)


def _read_subset(path: Path) -> Any:
    """The array of a .npy file, a keep list, or the lines of a text file that are not empty."""
    words = f"subset is {os.fspath(path)!r}, which"
    if path.suffix.lower() in (".csv", ".parquet"):
        found = read_keep_list(path, words.removesuffix(", which"))
        if found is not None:
            return found
    if path.suffix.lower() != ".npy":
        return [line for line in text_lines(path, words) if line]
    with reading_file(path):
        try:
            return np.load(path, allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise InvalidArgumentError(
                f"{words} is no .npy file of bools, row numbers or keys ({error!s:.100}); write "
                "one with numpy.save(path, array)"
            ) from error
