"""Parquet tables, with pictures by path or as bytes in a column."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import CorruptError, InvalidArgumentError, StorageError, UnsupportedError
from helip.data.columns import choose_columns, first_text
from helip.data.formats.table import TableDataset, assemble
from helip.data.options import OpenCall
from helip.data.packed_strings import PackedStrings
from helip.data.paths import FileStamp, stamp_file

# Decoded row groups that a process keeps.
_KEPT_GROUPS = 2


def open_parquet(paths: Sequence[Path], options: OpenCall) -> TableDataset:
    """Open Parquet files with the same columns as one data set."""
    columns, names, as_bytes = None, None, False
    files: list[tuple[Path, int]] = []
    for path in paths:
        parquet = _open(path)
        schema = parquet.schema_arrow
        chosen = choose_columns(schema.names, options, str(path))
        holds_bytes = _holds_bytes(schema.field(chosen.image), path)
        if columns is not None and (chosen, holds_bytes) != (columns, as_bytes):
            raise InvalidArgumentError(
                f"{path} has the columns {schema.names}, the first file {names}; "
                "open them one by one"
            )
        columns, names, as_bytes = chosen, schema.names, holds_bytes
        files.append((path, parquet.metadata.num_rows))
        parquet.close()
    assert columns is not None

    wanted = [columns.caption, *(n for n in (columns.key, columns.label) if n is not None)]
    packed = [_pack(paths, name) for name in wanted]
    images: PackedStrings | ParquetImages
    images = ParquetImages(paths, columns.image) if as_bytes else _pack(paths, columns.image)
    return assemble(files, images, packed[0], packed[1:], columns, options)


def _pack(paths: Sequence[Path], column: str) -> PackedStrings:
    return PackedStrings.from_strings(_cells(paths, column))


def _cells(paths: Sequence[Path], column: str) -> Iterator[str]:
    for path in paths:
        parquet = _open(path)
        try:
            # No threads: a worker that is forked later must not inherit a pool.
            for batch in parquet.iter_batches(columns=[column], use_threads=False):
                for value in batch.column(0).to_pylist():
                    yield first_text(value.decode() if isinstance(value, bytes) else value)
        except _damage() as error:
            raise CorruptError(f"{path}: column {column!r} cannot be read: {error}") from error
        finally:
            parquet.close()


class ParquetImages:
    """Pictures in a column of bytes, or of Hugging Face's struct of ``bytes`` and ``path``.

    Parquet can only be read by row group, so each process keeps the last two it decoded.
    Small row groups make random reading fast.
    """

    def __init__(self, paths: Sequence[Path], column: str) -> None:
        self._paths = [str(path) for path in paths]
        self._stamps: list[FileStamp] = [stamp_file(path) for path in paths]
        self._column = column
        groups: list[tuple[int, int, int]] = []
        self.nulls = 0
        for number, path in enumerate(paths):
            parquet = _open(path)
            for group in range(parquet.metadata.num_row_groups):
                groups.append((number, group, parquet.metadata.row_group(group).num_rows))
            self.nulls += _count_nulls(parquet.metadata, column)
            parquet.close()
        table = np.array(groups, dtype=np.int64).reshape(-1, 3)
        self._group_file, self._group_number = table[:, 0], table[:, 1]
        self._group_start = np.concatenate([[0], np.cumsum(table[:, 2])])  # [groups + 1]
        self._drop_handles()

    def read(self, row: int) -> bytes | None:
        """Return the encoded picture of a row, None where the cell is null."""
        if self._process != os.getpid():
            self._drop_handles()
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
        file, number = int(self._group_file[group]), int(self._group_number[group])
        path = self._paths[file]
        try:
            self._stamps[file].check(os.stat(path))
            with _open(Path(path)) as parquet:
                table = parquet.read_row_group(number, columns=[self._column], use_threads=False)
        except _damage() as error:
            raise CorruptError(f"{path}: row group {number} cannot be read: {error}") from error
        return table.column(0)

    def _drop_handles(self) -> None:
        self._process = os.getpid()
        self._groups: dict[int, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_groups": {}}


def _count_nulls(metadata: Any, column: str) -> int:
    """Null cells according to the file's statistics, 0 where it has none."""
    nulls = 0
    for group in range(metadata.num_row_groups):
        for leaf in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(leaf)
            if chunk.path_in_schema in (column, f"{column}.bytes") and chunk.statistics:
                nulls += chunk.statistics.null_count or 0
    return nulls


def _holds_bytes(field: Any, path: Path) -> bool:
    import pyarrow.types as types

    kind = field.type
    if types.is_struct(kind):
        kind = next((part.type for part in kind if part.name == "bytes"), None)
    if kind is not None and (types.is_binary(kind) or types.is_large_binary(kind)):
        return True
    if kind is not None and (types.is_string(kind) or types.is_large_string(kind)):
        return False
    raise InvalidArgumentError(
        f"{path}: the image column {field.name!r} is of type {field.type}; it must hold paths, "
        "bytes, or a struct with bytes; name another with image_column=…"
    )


def _open(path: Path) -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UnsupportedError(
            f"reading {path} needs pyarrow; run: pip install helip[data]"
        ) from error
    try:
        return parquet.ParquetFile(path, pre_buffer=False)
    except OSError as error:
        # Arrow reports damage as an OSError without a number.
        if error.errno is None:
            raise CorruptError(f"{path} is not a whole Parquet file: {error}") from error
        raise StorageError(error.errno, f"cannot read: {error}", str(path)) from error
    except _damage() as error:
        raise CorruptError(f"{path} is not a whole Parquet file: {error}") from error


def _damage() -> tuple[type[Exception], ...]:
    import pyarrow

    return pyarrow.ArrowException, UnicodeDecodeError, OSError
