"""Sources of embeddings as parts, each read in blocks from any of its rows on: ``.npy`` and
``.npz`` files with their Parquet, tables of Parquet and Lance, and what lies in memory."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, Error, InvalidArgumentError, StorageError, needed
from helip.common.files import require_regular
from helip.store.importing.columns import (
    ColumnNames,
    check_floats,
    choose_embeddings,
    key_texts,
    names_of,
    width_of,
)
from helip.store.keys import ROW_KEYS
from helip.store.matrices import host_array, rows_of_arrow
from helip.store.npy_files import NpyMatrix, members_of
from helip.store.options import ImportOptions

_NUMBER = re.compile(r"\d+")
_BUFFER = 1 << 20  # bytes of a column that are read at once
_TEXTS = 8192  # rows of keys and captions that are read at once


@dataclass(frozen=True)
class Block:
    """Rows of a part, one after the other."""

    matrices: dict[str, Any]
    """[n, d] each, arrays or tensors: image, text, and others that were named."""
    keys: list[str] | None = None
    """n keys; None where the source has none."""
    captions: list[str] | None = None
    """n captions, several of a row with line feeds between them."""

    def __len__(self) -> int:
        return len(self.matrices["image"])


Blocks = Generator[Block, None, None]
#: (first, step, columns): record batches of the rows from ``first`` on, at most ``step`` at a time.
Reader = Callable[[int, int, list[str]], Iterator[Any]]


@dataclass(frozen=True)
class Part:
    """One file, or the files that belong together, such as pictures' and captions' embeddings."""

    name: str
    """What messages call it."""
    rows: int
    dims: dict[str, int]
    """Of each matrix; 0 where it is not known: without rows, or where the first row is missing."""
    dtypes: dict[str, str]
    files: tuple[Path, ...]
    """By whose sizes and times a change is noticed; none for what lies in memory."""
    blocks: Callable[[int, int], Blocks]
    """(first, step): the rows from ``first`` on, at most ``step`` at a time."""
    names: ColumnNames
    """Of the columns that hold keys and captions, as far as there are some."""

    def state(self) -> list[Any]:
        """What tells whether it is still the same; JSON-able."""
        stats = map(os.stat, self.files)
        named = [self.name, self.rows, list(self.dims)]
        return [*named, [[each.st_size, each.st_mtime_ns] for each in stats]]


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever another library raises of a source into an error of helip that names it."""
    try:
        yield
    except (Error, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise StorageError(error.errno, f"cannot read {name}: {error.strerror}") from error
        what = f"{type(error).__name__}: {error!s:.200}"
        raise CorruptError(f"{name} cannot be read ({what}); write it anew") from error


def check_rows(counts: dict[str, int]) -> int:
    """The rows that all of these have; ``counts``: by the name of a file."""
    (first, rows), *others = counts.items()
    for other, theirs in others:
        if theirs != rows:
            raise InvalidArgumentError(
                f"{other} has {theirs:,} rows and {first} {rows:,}; files of one shard must have "
                "the same rows in the same order"
            )
    return rows


def _check_same_numbers(sides: dict[str, Sequence[Path]]) -> None:
    """Refuse lists of files of which one lacks what another has; ``sides``: by their names.

    Files of one place in the lists belong together, so that the last numbers in their names must be
    the same.
    """
    (first, paths), *others = sides.items()
    for other, theirs in others:
        if len(paths) == len(theirs) == 1:
            continue
        for own, beside in zip_longest(paths, theirs):
            if own is None or beside is None or _number_of(own) != _number_of(beside):
                raise InvalidArgumentError(
                    f"{own.name if own else 'no file'} of {first} stands beside "
                    f"{beside.name if beside else 'no file'} of {other}; give a file of the same "
                    "number of each, in the same order"
                )


def _number_of(path: Path) -> int | None:
    found = _NUMBER.findall(path.stem)
    return int(found[-1]) if found else None


def memory_part(sides: Mapping[str, Any], keys: Sequence[str] | None) -> Part:
    """Arrays or tensors [n, dim] that are there already, by the names of matrices."""
    arrays = {name: host_array(side, name) for name, side in sides.items()}
    for name, array in arrays.items():
        if len(array.shape) != 2:
            raise InvalidArgumentError(
                f"{name} has shape {tuple(array.shape)}; it must have 2 dimensions: [rows, dim]"
            )
    counts = {name: array.shape[0] for name, array in arrays.items()}
    if keys is not None:
        if isinstance(keys, (str, bytes)) or not hasattr(keys, "__len__"):
            raise InvalidArgumentError(
                f"keys is a {type(keys).__name__}; pass a sequence with one key a row"
            )
        counts["keys"] = len(keys)
    rows = check_rows(counts)
    dtypes = {name: check_floats(str(array.dtype), name) for name, array in arrays.items()}

    def blocks(first: int, step: int) -> Blocks:
        for at in range(first, rows, step):
            own = None if keys is None else key_texts(list(keys[at : at + step]), "keys", at)
            yield Block({name: rows[at : at + step] for name, rows in arrays.items()}, own)

    return Part(
        "the arrays",
        rows,
        {name: array.shape[1] for name, array in arrays.items()},
        dtypes,
        (),
        blocks,
        ColumnNames(key=None if keys is None else "keys"),
    )


class Metadata:
    """Keys and captions of rows, in a Parquet file."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path = path
        with _parquet_file(path) as file:
            self.rows = file.metadata.num_rows
            self.names = names_of(file.schema_arrow, options, str(path), embeddings=False)

    def texts(self, row: int) -> Iterator[tuple[str | None, str | None]]:
        """(key, caption) of each row from ``row`` on."""
        for batch in _parquet_batches(self.path, row, _TEXTS, self.names.chosen()):
            keys, captions = self.names.texts(batch, str(self.path), row)
            none: list[None] = [None] * len(batch)
            yield from zip(keys or none, captions or none, strict=True)
            row += len(batch)


def npy_parts(
    sides: Mapping[str, Sequence[Path]], metadata: Sequence[Path], options: ImportOptions
) -> list[Part]:
    """One part for each file of each matrix that lie beside each other, in the order given.

    Args:
        sides: image, text, and others by their names.
        metadata: none, one for all rows, or one for each part.

    Raises:
        InvalidArgumentError: files without their like, of other rows or in another order.
    """
    _check_same_numbers({**sides, **({"metadata": metadata} if len(metadata) > 1 else {})})
    beside = [
        {name: NpyMatrix.open(path) for name, path in zip(sides, paths, strict=True)}
        for paths in zip(*sides.values(), strict=True)
    ]
    tables: list[Metadata | None] = [Metadata(path, options) for path in metadata] or [None]
    if len(tables) == len(beside):
        both = zip(beside, tables, strict=True)
        return [_matrices_part(matrices, table, options) for matrices, table in both]
    whole, begin, parts = tables[0], 0, []
    for matrices in beside:
        parts.append(_matrices_part(matrices, whole, options, begin=begin))
        begin += matrices["image"].rows
    if whole is not None:
        check_rows({f"{len(beside)} files of image embeddings": begin, str(whole.path): whole.rows})
    return parts


def npz_parts(paths: Sequence[Path], options: ImportOptions) -> list[Part]:
    """An ``.npz`` each, with the ``.parquet`` of its name beside it, as DataComp has them."""
    parts = []
    for path in paths:
        image, text = choose_embeddings(members_of(path), options, str(path))
        beside = path.with_suffix(".parquet")
        table = Metadata(beside, options) if beside.exists() else None
        pair = {"image": NpyMatrix.open(path, image), "text": NpyMatrix.open(path, text)}
        parts.append(_matrices_part(pair, table, options))
    return parts


def _matrices_part(
    matrices: Mapping[str, NpyMatrix],
    table: Metadata | None,
    options: ImportOptions,
    *,
    begin: int | None = None,
) -> Part:
    """``begin``: of a table for several parts, its row of the first of this one."""
    first_path = next(iter(matrices.values())).path
    if table is None and (options.key_column not in (None, ROW_KEYS) or options.caption_column):
        raise InvalidArgumentError(
            f"{first_path} has no columns; give the metadata that holds key_column and "
            "caption_column"
        )
    counts = {each.name: each.rows for each in matrices.values()}
    if table is not None and begin is None:
        counts[str(table.path)] = table.rows
    rows = check_rows(counts)
    paths = [each.path for each in matrices.values()]
    names = ColumnNames() if table is None else table.names

    def blocks(first: int, step: int) -> Blocks:
        texts = (
            iter(()) if table is None or not names.chosen() else table.texts((begin or 0) + first)
        )
        with contextlib.ExitStack() as stack:
            read = [
                stack.enter_context(closing(each.blocks(first, step))) for each in matrices.values()
            ]
            for beside in zip(*read, strict=True):
                own = list(islice(texts, len(beside[0])))
                keys, captions = zip(*own, strict=True) if own else ((), ())
                yield Block(
                    dict(zip(matrices, beside, strict=True)),
                    None if names.key is None else list(keys),
                    None if names.caption is None else list(captions),
                )

    return Part(
        str(first_path),
        rows,
        {name: each.dim for name, each in matrices.items()},
        {name: check_floats(each.dtype, each.name) for name, each in matrices.items()},
        tuple(dict.fromkeys([*paths, *([table.path] if table else [])])),
        blocks,
        names,
    )


def _parquet_file(path: Path) -> Any:
    """An open ``pyarrow.parquet.ParquetFile``, which is a context manager."""
    with needed(f"reading {path} takes the package pyarrow", "'helip[data]'"):
        import pyarrow.parquet
    with reading(str(path)):
        require_regular(path)
        # Without these the whole file comes into memory.
        return pyarrow.parquet.ParquetFile(str(path), pre_buffer=False, buffer_size=_BUFFER)


def _parquet_batches(path: Path, first: int, step: int, columns: list[str]) -> Iterator[Any]:
    """The rows from ``first`` on, a row group at a time: no more of the file is in memory."""
    with _parquet_file(path) as file, reading(str(path)):
        for number in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            if rows <= first:
                first -= rows
                continue
            for batch in file.iter_batches(
                step, row_groups=[number], columns=columns, use_threads=False
            ):
                if first < batch.num_rows:
                    yield batch.slice(first)
                first = max(first - batch.num_rows, 0)


def parquet_part(path: Path, options: ImportOptions) -> Part:
    """Columns of a Parquet file."""
    with _parquet_file(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    return _table_part(str(path), (path,), rows, schema, partial(_parquet_batches, path), options)


def lance_part(path: Path, options: ImportOptions) -> Part:
    """Columns of a data set of Lance."""
    with needed(f"reading {path} takes the package lance", "'helip[lance]'"):
        import lance
    with reading(str(path)):
        data = lance.dataset(str(path))
        rows = data.count_rows()

    def batches(first: int, step: int, columns: list[str]) -> Iterator[Any]:
        return data.to_batches(columns=columns, offset=first, batch_size=step)

    files = tuple(sorted((path / "_versions").glob("*")))
    return _table_part(str(path), files, rows, data.schema, batches, options)


def arrow_part(table: Any, options: ImportOptions) -> Part:
    """Columns of a ``pyarrow.Table``."""

    def batches(first: int, step: int, columns: list[str]) -> Iterator[Any]:
        for at in range(first, table.num_rows, step):
            yield table.select(columns).slice(at, step)

    return _table_part("the table", (), table.num_rows, table.schema, batches, options)


def _table_part(
    name: str,
    files: tuple[Path, ...],
    rows: int,
    schema: Any,
    batches: Reader,
    options: ImportOptions,
) -> Part:
    names = names_of(schema, options, name)
    sides = [str(names.image), str(names.text)]
    dims, dtypes = [], []
    for side in sides:
        kind = schema.field(side).type
        dtypes.append(check_floats(str(kind.value_type), f"{name}: {side}"))
        width = width_of(kind)
        if width is None:
            cell = next(iter(batches(0, 1, [side]))).column(side)[0].as_py() if rows else None
            width = len(cell or ())
        dims.append(width)

    def blocks(first: int, step: int) -> Blocks:
        for batch in batches(first, step, names.chosen()):
            image, text = (
                rows_of_arrow(batch.column(side), f"{name}: {side}", first) for side in sides
            )
            yield Block({"image": image, "text": text}, *names.texts(batch, name, first))
            first += batch.num_rows

    pair = ("image", "text")
    return Part(
        name, rows, dict(zip(pair, dims, strict=True)), dict(zip(pair, dtypes, strict=True)),
        files, blocks, names,
    )  # fmt: skip
