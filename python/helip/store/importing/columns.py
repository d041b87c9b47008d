"""Columns of Arrow tables as embeddings, keys and captions, and which columns these are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.store.keys import ROW_KEYS
from helip.store.matrices import is_tensor
from helip.store.options import ImportOptions

KEY_NAMES = ("key", "uid", "id")
CAPTION_NAMES = ("caption", "text", "title", "txt")
#: Parts of the names of embeddings.
_WORDS = {"image": ("image", "img", "picture"), "text": ("text", "txt", "caption")}
_FLOATS = ("float16", "float32", "float64", "bfloat16")
_ARROW_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}


@dataclass(frozen=True)
class ColumnNames:
    """The chosen columns; None where there is none."""

    image: str | None = None
    text: str | None = None
    key: str | None = None
    caption: str | None = None

    def chosen(self) -> list[str]:
        """All of them, once each."""
        named = (self.image, self.text, self.key, self.caption)
        return list(dict.fromkeys(name for name in named if name is not None))

    def texts(self, table: Any, what: str, first: int) -> tuple[list[str] | None, list[str] | None]:
        """Keys and captions of the rows of an Arrow table or batch, None where no column holds
        them; ``first``: the row of its first."""
        keys = captions = None
        if self.key is not None:
            keys = key_texts(_cells(table.column(self.key)), what, first)
        if self.caption is not None:
            captions = _caption_texts(_cells(table.column(self.caption)), what, first)
        return keys, captions


def choose_embeddings(names: Sequence[str], options: ImportOptions, what: str) -> tuple[str, str]:
    """The names of both embeddings among those that hold some; ``what``: of the source.

    Raises:
        InvalidArgumentError: a name that is not there, or none or several that fit.
    """
    held = ", ".join(names[:20]) or "none"
    chosen = []
    for side, words in _WORDS.items():
        wanted = getattr(options, f"{side}_column")
        if wanted is not None and wanted not in names:
            raise InvalidArgumentError(f"{what} has no embeddings {wanted!r}; it has: {held}")
        fitting = [name for name in names if any(word in name.lower() for word in words)]
        if wanted is None and len(fitting) != 1:
            found = f"{len(fitting)} fit" if fitting else "none fits"
            raise InvalidArgumentError(
                f"{what}: which column of lists of floats holds the {side} embeddings? Of {held} "
                f"{found} by name; name it with {side}_column"
            )
        chosen.append(wanted or fitting[0])
    if chosen[0] == chosen[1]:
        raise InvalidArgumentError(
            f"{what}: image_column and text_column are both {chosen[0]!r}; name two columns"
        )
    return chosen[0], chosen[1]


def names_of(
    schema: Any, options: ImportOptions, what: str, *, embeddings: bool = True
) -> ColumnNames:
    """Of a table that holds everything, or keys and captions alone."""
    vectors = [field.name for field in schema if _holds_floats(field.type)]
    plain = [field.name for field in schema if field.name not in vectors]
    sides = choose_embeddings(vectors, options, what) if embeddings else (None, None)
    by_name = {name.lower(): name for name in plain}
    chosen = []
    for wanted, usual in (
        (options.key_column, KEY_NAMES),
        (options.caption_column, CAPTION_NAMES),
    ):
        numbered = wanted == ROW_KEYS and usual is KEY_NAMES
        if wanted is not None and wanted not in plain and not numbered:
            raise InvalidArgumentError(
                f"{what} has no column {wanted!r}; it has: {', '.join(plain[:20]) or 'none'}"
            )
        fitting = usual if wanted is None else ()
        found = next((by_name[name] for name in fitting if name in by_name), None)
        chosen.append(wanted if wanted in plain else found)
    return ColumnNames(*sides, *chosen)


def _holds_floats(kind: Any) -> bool:
    import pyarrow.types as types

    lists = (types.is_fixed_size_list, types.is_list, types.is_large_list)
    held = is_tensor(kind) or any(check(kind) for check in lists)
    return held and types.is_floating(kind.value_type)


def width_of(kind: Any) -> int | None:
    """Values of a cell, where the type tells it."""
    import pyarrow.types as types

    if is_tensor(kind):
        return math.prod(kind.shape)
    return int(kind.list_size) if types.is_fixed_size_list(kind) else None


def check_floats(dtype: str, what: str) -> str:
    """NumPy's name of a dtype that NumPy, torch or Arrow name, if embeddings may be of it."""
    name = _ARROW_FLOATS.get(dtype, dtype.removeprefix("torch."))
    if name not in _FLOATS:
        raise InvalidArgumentError(
            f"{what} is of {name}; embeddings are float16, float32 or float64. Convert it first"
        )
    return name


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


def key_texts(values: Sequence[Any], what: str, first: int) -> list[str]:
    """Keys as text: of text itself, of whole numbers their digits; ``first``: the row of the first.

    Raises:
        InvalidArgumentError: a key that is missing or of another type, with its row.
    """
    texts = []
    for row, value in enumerate(values, start=first):
        value = _decoded(value, what, "key", row)
        if isinstance(value, bool) or not (isinstance(value, str) or hasattr(value, "__index__")):
            said = "missing" if value is None else f"{value!r:.80}, a {type(value).__name__}"
            raise InvalidArgumentError(
                f"{what}: the key of row {row:,} is {said}; keys are text or whole numbers. Name "
                "another key_column, or row for the rows' numbers"
            )
        texts.append(value if isinstance(value, str) else str(int(value)))
    return texts


def _caption_texts(values: Sequence[Any], what: str, first: int) -> list[str]:
    """Captions stripped, several of a row with line feeds between; "" where there is none.

    Raises:
        InvalidArgumentError: a caption that is no text, with its row.
    """
    texts = []
    for row, value in enumerate(values, start=first):
        cells = value if isinstance(value, (list, tuple)) else [value]
        own = [_decoded(cell, what, "caption", row) or "" for cell in cells]
        for cell in own:
            if not isinstance(cell, str):
                raise InvalidArgumentError(
                    f"{what}: the caption of row {row:,} is {cell!r:.80}, a "
                    f"{type(cell).__name__}, not text; name another caption_column"
                )
        texts.append("\n".join(dict.fromkeys(cell.strip() for cell in own if cell.strip())))
    return texts


def _decoded(value: Any, what: str, kind: str, row: int) -> Any:
    """What bytes say; any other value as it is."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"{what}: the {kind} of row {row:,} is no UTF-8 ({value!r:.80}); write it as UTF-8"
        ) from error
