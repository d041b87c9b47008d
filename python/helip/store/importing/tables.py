"""Tables with columns of embeddings: Parquet, Arrow, Lance, and Hugging Face's data sets."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError, needed
from helip.common.files import require_regular
from helip.store.importing.columns import (
    ColumnNames,
    block_of,
    float_of,
    names_of_schema,
    width_of,
)
from helip.store.importing.part import Blocks, Part, reading
from helip.store.options import ImportOptions

_BUFFER = 1 << 20  # bytes of a column that are read at once

Batches = Generator[Any, None, None]
#: (first, step, columns): record batches of the rows from ``first`` on.
Reader = Callable[[int, int, list[str]], Batches]


def parquet_part(path: Path, options: ImportOptions) -> Part:
    with parquet_file(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows

    def batches(first: int, step: int, columns: list[str]) -> Batches:
        return parquet_batches(path, first, step, columns)

    return _part_of_table(str(path), (path,), rows, schema, batches, options)


def parquet_batches(path: Path, first: int, step: int, columns: list[str]) -> Batches:
    """The rows from ``first`` on, a row group at a time: no more of the file is in memory."""
    with parquet_file(path) as file, reading(str(path)):
        for number in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            if rows <= first:
                first -= rows
                continue
            group = file.iter_batches(step, row_groups=[number], columns=columns, use_threads=False)
            yield from _dropped(group, first)
            first = 0


def arrow_part(path: Path, options: ImportOptions) -> Part:
    """A file of Arrow's IPC format or a stream of it, as the files of ``datasets`` are; mapped."""
    with needed(f"reading {path} takes the package pyarrow", "'helip[data]'"):
        import pyarrow.ipc

    def opened() -> tuple[Any, Iterator[Any]]:
        require_regular(path)
        mapped = pyarrow.memory_map(str(path))
        try:
            reader = pyarrow.ipc.open_file(mapped)
        except pyarrow.ArrowInvalid:
            mapped.seek(0)
            stream = pyarrow.ipc.open_stream(mapped)
            return stream.schema, iter(stream)
        return reader.schema, (reader.get_batch(at) for at in range(reader.num_record_batches))

    with reading(str(path)):
        schema, each = opened()
        rows = sum(batch.num_rows for batch in each)

    def batches(first: int, step: int, columns: list[str]) -> Batches:
        with reading(str(path)):
            for batch in _dropped(opened()[1], first):
                for at in range(0, batch.num_rows, step):
                    yield batch.slice(at, step)

    return _part_of_table(str(path), (path,), rows, schema, batches, options)


def lance_part(path: Path, options: ImportOptions) -> Part:
    with needed(f"reading {path} takes the package lance", "'helip[lance]'"):
        import lance
    with reading(str(path)):
        data = lance.dataset(str(path))
        rows = data.count_rows()

    def batches(first: int, step: int, columns: list[str]) -> Batches:
        with reading(str(path)):
            yield from data.to_batches(columns=columns, offset=first, batch_size=step)

    files = tuple(sorted((path / "_versions").glob("*")))
    return _part_of_table(str(path), files, rows, data.schema, batches, options)


def arrow_table_part(table: Any, options: ImportOptions) -> Part:
    """A ``pyarrow.Table``, or what gives one batch by batch."""

    def batches(first: int, step: int, columns: list[str]) -> Batches:
        for at in range(first, table.num_rows, step):
            yield table.select(columns).slice(at, step)

    return _part_of_table("the table", (), table.num_rows, table.schema, batches, options)


def hugging_face_part(data: Any, options: ImportOptions, files: tuple[Path, ...] = ()) -> Part:
    """A ``datasets.Dataset``, with the rows and the order that it shows."""
    if not hasattr(data, "features") or not hasattr(data, "select_columns"):
        raise InvalidArgumentError(
            f"a datasets.{type(data).__name__} is not one table; give one of its splits"
        )
    if not hasattr(data, "num_rows"):
        raise InvalidArgumentError(
            f"a datasets.{type(data).__name__} has no rows to be read in order; give a data set "
            "that is not streamed"
        )
    schema = data.features.arrow_schema
    name = "the data set" if not files else str(files[0].parent)

    def batches(first: int, step: int, columns: list[str]) -> Batches:
        shown = data.select_columns(columns).with_format("arrow")
        for at in range(first, data.num_rows, step):
            yield shown[at : at + step]

    return _part_of_table(name, files, data.num_rows, schema, batches, options)


def saved_hugging_face_part(path: Path, options: ImportOptions) -> Part:
    with needed(f"reading {path} takes the package datasets", "'helip[data]'"):
        import datasets
    with reading(str(path)):
        data = datasets.load_from_disk(str(path))
    return hugging_face_part(data, options, tuple(sorted(path.glob("*"))))


def _part_of_table(
    name: str,
    files: tuple[Path, ...],
    rows: int,
    schema: Any,
    batches: Reader,
    options: ImportOptions,
) -> Part:
    names = names_of_schema(schema, options, name)
    sides = (names.image, names.text)
    kinds = [schema.field(side).type for side in sides]
    widths = [
        width_of(kind) or _first_width(batches, str(side), rows)
        for side, kind in zip(sides, kinds, strict=True)
    ]

    def blocks(first: int, step: int) -> Blocks:
        return _blocks_of_table(batches(first, step, names.chosen()), names, name, first)

    dtypes = [float_of(kind, f"{name}: {s}") for s, kind in zip(sides, kinds, strict=True)]
    return Part(
        name, rows, (widths[0], widths[1]), (dtypes[0], dtypes[1]), files, blocks,
        has_keys=names.key is not None, has_captions=names.caption is not None,
    )  # fmt: skip


def _first_width(batches: Reader, column: str, rows: int) -> int:
    """Values in the first list of a column; 0 where there is none, or it is missing."""
    if not rows:
        return 0
    first = next(batches(0, 1, [column])).column(column)[0]
    return 0 if first.as_py() is None else len(first)


def _blocks_of_table(batches: Batches, names: ColumnNames, name: str, first: int) -> Blocks:
    for batch in batches:
        yield block_of(batch, names, name, first)
        first += batch.num_rows


def _dropped(batches: Iterator[Any], rows: int) -> Batches:
    """The batches without their first ``rows``."""
    for batch in batches:
        if rows >= batch.num_rows:
            rows -= batch.num_rows
            continue
        yield batch.slice(rows) if rows else batch
        rows = 0


def parquet_file(path: Path) -> Any:
    """An open ``pyarrow.parquet.ParquetFile``, which is a context manager."""
    with needed(f"reading {path} takes the package pyarrow", "'helip[data]'"):
        import pyarrow.parquet
    with reading(str(path)):
        require_regular(path)
        # Without these the whole file comes into memory.
        return pyarrow.parquet.ParquetFile(str(path), pre_buffer=False, buffer_size=_BUFFER)
