"""Matrices: in memory, and in ``.npy`` and ``.npz`` files with their Parquet, as clip-retrieval and
DataComp write them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.common.patterns import natural
from helip.store.importing.columns import (
    ColumnNames,
    choose_embeddings,
    metadata_of,
    names_of_metadata,
)
from helip.store.importing.part import (
    Block,
    Blocks,
    Part,
    check_floats,
    check_rows,
    check_same_numbers,
    key_texts,
)
from helip.store.importing.tables import parquet_batches, parquet_file
from helip.store.keys import ROW_KEYS
from helip.store.matrices import host_array
from helip.store.npy_files import NpyMatrix, members_of
from helip.store.options import ImportOptions


class Metadata:
    """Keys and captions of rows, in a Parquet file."""

    def __init__(self, path: Path, options: ImportOptions) -> None:
        self.path = path
        with parquet_file(path) as file:
            self.rows = file.metadata.num_rows
            self.names = names_of_metadata(file.schema_arrow, options, str(path))

    def pieces(self, first: int, rows: int, step: int) -> Generator[tuple[Any, Any], None, None]:
        """(keys, captions) of ``step`` rows at a time, from ``first`` on."""
        import pyarrow

        columns = self.names.chosen()
        if not columns:
            for _ in range(0, rows, step):
                yield None, None
            return
        held: list[Any] = []
        count, given = 0, 0
        with closing(parquet_batches(self.path, first, step, columns)) as batches:
            for batch in batches:
                held.append(batch)
                count += batch.num_rows
                while count and (count >= min(step, rows - given)) and given < rows:
                    table = pyarrow.Table.from_batches(held)
                    wanted = min(step, rows - given)
                    yield metadata_of(
                        table.slice(0, wanted), self.names, str(self.path), first + given
                    )
                    held = table.slice(wanted).to_batches()
                    count, given = count - wanted, given + wanted


def memory_part(image: Any, text: Any, keys: Sequence[str] | None) -> Part:
    """Arrays or tensors [n, dim] that are there already."""
    image, text = host_array(image, "image"), host_array(text, "text")
    for name, array in (("image", image), ("text", text)):
        if len(array.shape) != 2:
            raise InvalidArgumentError(
                f"{name} has shape {tuple(array.shape)}; it must have 2 dimensions: [rows, dim]"
            )
    counts = {"image": image.shape[0], "text": text.shape[0]}
    if keys is not None:
        if isinstance(keys, (str, bytes)) or not hasattr(keys, "__len__"):
            raise InvalidArgumentError(
                f"keys is a {type(keys).__name__}; pass a sequence with one key a row"
            )
        counts["keys"] = len(keys)
    rows = check_rows(counts)
    dtypes = [
        check_floats(str(array.dtype).removeprefix("torch."), name)
        for name, array in (("image", image), ("text", text))
    ]

    def blocks(first: int, step: int) -> Blocks:
        for at in range(first, rows, step):
            own = None if keys is None else key_texts(list(keys[at : at + step]), "keys", at)
            yield Block(image[at : at + step], text[at : at + step], own)

    return Part(
        "the arrays",
        rows,
        (image.shape[1], text.shape[1]),
        (dtypes[0], dtypes[1]),
        (),
        blocks,
        has_keys=keys is not None,
    )


def npy_parts(
    image: Sequence[Path], text: Sequence[Path], metadata: Sequence[Path], options: ImportOptions
) -> list[Part]:
    """One part for each pair of files, in the order given.

    Args:
        metadata: none, one for all rows, or one for each pair.

    Raises:
        InvalidArgumentError: files without their like, of other rows or in another order.
    """
    if not metadata and (options.key_column not in (None, ROW_KEYS) or options.caption_column):
        raise InvalidArgumentError(
            ".npy files have no columns; give the metadata that holds key_column and caption_column"
        )
    sides = {"image": image, "text": text}
    if len(metadata) > 1 or len(image) == 1:
        sides |= {"metadata": metadata} if metadata else {}
    check_same_numbers(sides)
    pairs = [
        (NpyMatrix.open(a), NpyMatrix.open(b)) for a, b in zip(image, text, strict=True)
    ]  # fmt: skip
    rows = [check_rows({a.name: a.rows, b.name: b.rows}) for a, b in pairs]
    if len(metadata) == 1:
        whole = Metadata(metadata[0], options)
        check_rows(
            {f"{len(pairs)} files of image embeddings": sum(rows), str(whole.path): whole.rows}
        )
        tables: list[Metadata | None] = [whole] * len(pairs)
        begins = [sum(rows[:number]) for number in range(len(rows))]
    else:
        tables = [Metadata(path, options) for path in metadata] or [None] * len(pairs)
        begins = [0] * len(pairs)
    parts = []
    for (a, b), count, table, begin in zip(pairs, rows, tables, begins, strict=True):
        if table is not None and len(metadata) > 1:
            check_rows({a.name: count, str(table.path): table.rows})
        parts.append(_part_of_matrices(str(a.path), a, b, table, begin))
    return parts


def clip_retrieval_parts(folder: Path, options: ImportOptions) -> list[Part]:
    """``img_emb/*.npy``, ``text_emb/*.npy`` and, where it is there, ``metadata/*.parquet``."""
    found = {
        name: sorted((folder / name).glob(pattern), key=natural)
        for name, pattern in (
            ("img_emb", "*.npy"), ("text_emb", "*.npy"), ("metadata", "*.parquet"),
        )
    }  # fmt: skip
    for name in ("img_emb", "text_emb"):
        if not found[name]:
            raise InvalidArgumentError(f"{folder / name} holds no .npy file; embed both sides")
    metadata = found["metadata"]
    if len(metadata) == 1 and len(found["img_emb"]) > 1:
        check_same_numbers({"img_emb": found["img_emb"], "metadata": metadata})
    return npy_parts(found["img_emb"], found["text_emb"], metadata, options)


def npz_parts(paths: Sequence[Path], options: ImportOptions) -> list[Part]:
    """An ``.npz`` each, with the ``.parquet`` of its name beside it, as DataComp has them."""
    parts = []
    for path in paths:
        image, text = choose_embeddings(members_of(path), options, str(path))
        a, b = NpyMatrix.open(path, image), NpyMatrix.open(path, text)
        rows = check_rows({a.name: a.rows, b.name: b.rows})
        beside = path.with_suffix(".parquet")
        table = Metadata(beside, options) if beside.exists() else None
        if table is not None:
            check_rows({a.name: rows, str(beside): table.rows})
        elif options.key_column not in (None, ROW_KEYS) or options.caption_column:
            raise InvalidArgumentError(f"{beside} is missing, which would hold keys and captions")
        parts.append(_part_of_matrices(str(path), a, b, table, 0))
    return parts


def _part_of_matrices(
    name: str, image: NpyMatrix, text: NpyMatrix, table: Metadata | None, begin: int
) -> Part:
    dtypes = [check_floats(each.dtype, each.name) for each in (image, text)]
    files = dict.fromkeys([image.path, text.path, *([table.path] if table else [])])

    def blocks(first: int, step: int) -> Blocks:
        with (
            closing(image.blocks(first, step)) as images,
            closing(text.blocks(first, step)) as texts,
        ):
            if table is None:
                yield from (Block(a, b, None) for a, b in zip(images, texts, strict=True))
                return
            pieces = table.pieces(begin + first, image.rows - first, step)
            with closing(pieces):
                for a, b, (keys, captions) in zip(images, texts, pieces, strict=True):
                    yield Block(a, b, keys, captions)

    names = ColumnNames(None, None, None, None) if table is None else table.names
    return Part(
        name, image.rows, (image.dim, text.dim), (dtypes[0], dtypes[1]), tuple(files), blocks,
        has_keys=names.key is not None, has_captions=names.caption is not None,
    )  # fmt: skip
