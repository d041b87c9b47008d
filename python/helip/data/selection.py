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
from collections.abc import Iterator, Mapping, Sequence
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


class KeepList(dict[str, str | None]):
    """Of each key: None where it stays, else why it goes."""


def read_keep_list(path: Path, words: str) -> KeepList | None:
    """The list at ``path``, a .csv or .parquet file; None where a .csv is none by its header.

    ``words`` begin messages. InvalidArgumentError: columns are missing, a value of ``keep`` is no
    bool, a key stands there twice, there is no row. StorageError: it cannot be read.
    """
    in_parquet = path.suffix.lower() == ".parquet"
    header, rows = (_read_parquet if in_parquet else _read_csv)(path, words)
    missing = [name for name in _NEEDED if name not in header]
    if missing and not in_parquet:
        return None
    if missing:
        raise InvalidArgumentError(
            f"{words} has no column {missing[0]!r}; its columns are {', '.join(header)}, and a "
            "keep list has key and keep"
        )
    keep = KeepList()
    for place, row in enumerate(rows, start=1):
        cells = dict(zip(header, row, strict=True))
        key, value = str(cells["key"]), cells["keep"]
        said = _BOOLS.get(str(value).strip().lower())
        if said is None:
            raise InvalidArgumentError(
                f"{words}, whose row {place} has keep {value!r}, must be 1 or 0, true or false"
            )
        if key in keep:
            raise InvalidArgumentError(
                f"{words}, which names the key {key!r} more than once; keep one of its rows"
            )
        keep[key] = None if said else cells.get("reason") or "without_reason"
    if not keep:
        raise InvalidArgumentError(f"{words}, a keep list without rows; write it again")
    return keep


def _read_csv(path: Path, words: str) -> tuple[list[str], Iterator[Sequence[Any]]]:
    lines = csv.reader(io.StringIO(read_text(path, words), newline=""))
    header = next(lines, [])

    def rows() -> Iterator[Sequence[Any]]:
        for line in lines:
            if len(line) != len(header):
                raise InvalidArgumentError(
                    f"{words}, whose line {lines.line_num} has {len(line)} fields, the header "
                    f"{len(header)}; write it again"
                )
            yield line

    return header, rows()


def _read_parquet(path: Path, words: str) -> tuple[list[str], Iterator[Sequence[Any]]]:
    with needed("a keep list in Parquet needs pyarrow", "pyarrow"):
        from pyarrow import ArrowException, parquet
    with reading_file(path):
        try:
            table = parquet.read_table(path)
        except ArrowException as error:
            raise InvalidArgumentError(
                f"{words} is no Parquet file ({error!s:.100}); write it again"
            ) from error
    columns = [column.to_pylist() for column in table.columns]
    return table.column_names, zip(*columns, strict=True)


def _kept_rows(keep: KeepList, data: Any, words: str) -> tuple[np.ndarray, dict[str, int]]:
    """int64 [n]: the rows of ``data`` that stay, ascending; and how many go by reason.

    InvalidArgumentError: keys that only the list or only the data have.
    """
    rows, unknown = [], []
    gone: Counter[str] = Counter()
    for row, key in enumerate(data.keys):
        reason = keep.get(key, "")  # which no reason is
        if reason is None:
            rows.append(row)
        elif reason:
            gone[reason] += 1
        else:
            unknown.append(key)
    if len(data.keys) - len(unknown) < len(keep):
        there = set(data.keys)
        missing = [key for key in keep if key not in there]
        raise InvalidArgumentError(
            f"{words}, and {len(missing):,} of its {len(keep):,} keys are not in the data: "
            f"{first_of(map(repr, missing))}; open the data that were curated"
        )
    if unknown:
        raise InvalidArgumentError(
            f"{words}, which says nothing of {len(unknown):,} of the {len(data.keys):,} rows: "
            f"{first_of(map(repr, unknown))}; open the data that were curated, or curate these "
            "again"
        )
    return np.array(rows, dtype=np.int64), dict(sorted(gone.items()))


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
    if not isinstance(given, KeepList):
        given = _keys_or_array(given)
    if isinstance(given, KeepList):
        rows, reasons = _kept_rows(given, data, f"subset is {words}")
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


def _keys_or_array(given: Any) -> list[str] | np.ndarray:
    """Keys as a list, anything else as an array."""
    try:
        if hasattr(given, "detach"):  # a tensor
            given = given.detach().cpu()
        elif not hasattr(given, "__array__"):
            given = list(given)
            if all(isinstance(each, str) for each in given):
                return given
        array = np.asarray(given)
        # Text of NumPy is U, of pandas and Arrow objects, which may be numbers and bools as well.
        if array.dtype.kind in "UO":
            listed = array.ravel().tolist()
            if all(isinstance(each, str) for each in listed):
                return listed
            array = np.asarray(array.tolist())
        return array
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"subset is {given!r:.100}; it must be a path, keys, row numbers or one bool a row"
        ) from error


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
