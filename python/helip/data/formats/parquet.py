"""Parquet tables, with pictures by path or as bytes in a column."""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    needed,
)
from helip.common.files import require_regular, storage_errors
from helip.data.captions import PackedCaptions, texts_of
from helip.data.columns import choose_same_columns, first_text
from helip.data.formats.table import TableDataset
from helip.data.options import OpenCall
from helip.data.packed_strings import PackedStrings

# Decoded row groups that a process keeps.
_KEPT_GROUPS = 2


def open_parquet(paths: Sequence[Path], options: OpenCall) -> TableDataset:
    """Open Parquet files with the same columns as one data set."""
    columns, as_bytes = None, False
    starts = [0]
    for path in paths:
        with _open(path) as parquet:
            schema = parquet.schema_arrow
            columns = choose_same_columns(columns, schema.names, options, path)
            holds_bytes = _holds_bytes(schema.field(columns.image), path)
            if path != paths[0] and holds_bytes != as_bytes:
                raise InvalidArgumentError(
                    f"of {path} and {paths[0]} one holds paths of pictures, one the pictures; "
                    "open them one by one"
                )
            as_bytes = holds_bytes
            starts.append(starts[-1] + parquet.metadata.num_rows)
    assert columns is not None
    roles = columns.roles()
    images: PackedStrings | ParquetImages
    if as_bytes:
        images = ParquetImages(paths, roles.pop("image"))
    else:
        images = _texts(paths, roles.pop("image"))
    captions = PackedCaptions.of(map(texts_of, _cells(paths, roles.pop("caption"))))
    texts = {role: _texts(paths, name) for role, name in roles.items()}
    return TableDataset(paths, starts, images, captions, texts, columns, options)


def _texts(paths: Sequence[Path], column: str) -> PackedStrings:
    return PackedStrings.from_strings(map(first_text, _cells(paths, column)))


def _cells(paths: Sequence[Path], column: str) -> Iterator[Any]:
    for path in paths:
        with _open(path) as parquet:
            try:
                # No threads: a worker that is forked later must not inherit a pool.
                for batch in parquet.iter_batches(columns=[column], use_threads=False):
                    for value in batch.column(0).to_pylist():
                        yield value.decode() if isinstance(value, bytes) else value
            except _damage() as error:
                raise CorruptError(f"{path}: column {column!r} cannot be read: {error}") from error


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
            with _open(path) as parquet:
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
            with _open(path) as parquet:
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


def _open(path: Path) -> Any:
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
