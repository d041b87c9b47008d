"""Columns of Arrow tables as embeddings, keys and captions, and which columns these are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.store.importing.part import Block, caption_texts, check_floats, key_texts
from helip.store.keys import ROW_KEYS
from helip.store.matrices import is_tensor, rows_of_arrow
from helip.store.options import ImportOptions

KEY_NAMES = ("key", "uid", "id")
CAPTION_NAMES = ("caption", "text", "title", "txt")
#: Parts of the names of embeddings.
IMAGE_WORDS, TEXT_WORDS = ("image", "img", "picture"), ("text", "txt", "caption")


@dataclass(frozen=True)
class ColumnNames:
    """The chosen columns; None where there is none."""

    image: str | None
    text: str | None
    key: str | None
    caption: str | None

    def chosen(self) -> list[str]:
        """All of them, once each."""
        named = (self.image, self.text, self.key, self.caption)
        return list(dict.fromkeys(name for name in named if name is not None))


def choose_embeddings(names: Sequence[str], options: ImportOptions, what: str) -> tuple[str, str]:
    """The names of both embeddings among those that hold some; ``what``: of the source.

    Raises:
        InvalidArgumentError: a name that is not there, or none or several that fit.
    """
    chosen = []
    for side, wanted, words in (
        ("image", options.image_column, IMAGE_WORDS),
        ("text", options.text_column, TEXT_WORDS),
    ):
        held = ", ".join(names[:20])
        if wanted is not None:
            if wanted not in names:
                raise InvalidArgumentError(
                    f"{what} has no embeddings {wanted!r}; it has: {held or 'none'}"
                )
            chosen.append(wanted)
            continue
        fitting = [name for name in names if any(word in name.lower() for word in words)]
        if not names:
            raise InvalidArgumentError(f"{what} holds no embeddings: no matrix, no lists of floats")
        if len(fitting) != 1:
            found = f"{len(fitting)} fit" if fitting else "none fits"
            raise InvalidArgumentError(
                f"{what}: which holds the {side} embeddings? Of {held} {found} by name; name it "
                f"with {side}_column"
            )
        chosen.append(fitting[0])
    if chosen[0] == chosen[1]:
        raise InvalidArgumentError(
            f"{what}: image_column and text_column are both {chosen[0]!r}; name two columns"
        )
    return chosen[0], chosen[1]


def choose_metadata(
    names: Sequence[str], options: ImportOptions, what: str
) -> tuple[str | None, str | None]:
    """The columns of keys and of captions among ``names``, None where there is none."""
    chosen: list[str | None] = []
    for wanted, usual in (
        (options.key_column, KEY_NAMES),
        (options.caption_column, CAPTION_NAMES),
    ):
        if wanted is not None and wanted not in names:
            if wanted == ROW_KEYS and usual is KEY_NAMES:
                chosen.append(None)
                continue
            raise InvalidArgumentError(
                f"{what} has no column {wanted!r}; it has: {', '.join(names[:20]) or 'none'}"
            )
        by_name = {name.lower(): name for name in names}
        found = next((by_name[name] for name in usual if name in by_name), None)
        chosen.append(wanted or found)
    return chosen[0], chosen[1]


def names_of_schema(schema: Any, options: ImportOptions, what: str) -> ColumnNames:
    """Of a table that holds everything."""
    vectors = [field.name for field in schema if _holds_floats(field.type)]
    image, text = choose_embeddings(vectors, options, what)
    plain = [field.name for field in schema if field.name not in vectors]
    return ColumnNames(image, text, *choose_metadata(plain, options, what))


def names_of_metadata(schema: Any, options: ImportOptions, what: str) -> ColumnNames:
    """Of a table of keys and captions alone."""
    plain = [field.name for field in schema if not _holds_floats(field.type)]
    return ColumnNames(None, None, *choose_metadata(plain, options, what))


def _holds_floats(kind: Any) -> bool:
    import pyarrow.types as types

    lists = (types.is_fixed_size_list, types.is_list, types.is_large_list)
    if not any(check(kind) for check in lists):
        return is_tensor(kind) and types.is_floating(kind.value_type)
    return types.is_floating(kind.value_type)


def width_of(kind: Any) -> int | None:
    """Values of a cell, where the type tells it."""
    import pyarrow.types as types

    if is_tensor(kind):
        return math.prod(kind.shape)
    return int(kind.list_size) if types.is_fixed_size_list(kind) else None


def float_of(kind: Any, what: str) -> str:
    """The NumPy name of the floats in a list type."""
    name = str(kind.value_type)
    names = {"halffloat": "float16", "float": "float32", "double": "float64"}
    return check_floats(names.get(name, name), what)


def block_of(table: Any, names: ColumnNames, what: str, first: int) -> Block:
    """The rows of an Arrow table or record batch; ``first``: the row of its first."""
    assert names.image is not None and names.text is not None
    keys, captions = metadata_of(table, names, what, first)
    return Block(
        rows_of_arrow(table.column(names.image), f"{what}: {names.image}", first),
        rows_of_arrow(table.column(names.text), f"{what}: {names.text}", first),
        keys,
        captions,
    )


def metadata_of(
    table: Any, names: ColumnNames, what: str, first: int
) -> tuple[list[str] | None, list[str] | None]:
    """Keys and captions of the rows, None where no column holds them."""
    keys, captions = names.key, names.caption
    return (
        None if keys is None else key_texts(_cells(table.column(keys)), what, first),
        None if captions is None else caption_texts(_cells(table.column(captions)), what, first),
    )


def _cells(column: Any) -> list[Any]:
    """Values of a column; text as bytes, which need not be what they are said to be."""
    import pyarrow
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_string(column.type):
        column = column.cast(pyarrow.binary())
    elif types.is_large_string(column.type) or types.is_string_view(column.type):
        column = column.cast(pyarrow.large_binary())
    return column.to_pylist()
