"""Which column of a table is the picture, the caption, the key and the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.data.captions import texts_of
from helip.data.options import OpenCall
from helip.store.keys import ROW_KEYS

# In order of preference; compared without case.
IMAGE_NAMES = (
    "image",
    "image_path",
    "img_path",
    "img",
    "filepath",
    "file_path",
    "file_name",
    "filename",
    "image_file",
    "path",
    "file",
    "image_bytes",
    "jpg",
    "png",
)
CAPTION_NAMES = (
    "caption",
    "text",
    "title",
    "captions",
    "description",
    "alt_text",
    "alt",
    "sentence",
    "txt",
)
LABEL_NAMES = ("label", "class", "category", "class_name", "cls")


@dataclass(frozen=True)
class Columns:
    """The chosen columns; ``key`` is None for the default keys, ``label`` where there is none."""

    image: str
    caption: str
    key: str | None
    label: str | None
    number_rows: bool  # row numbers are the keys
    names: Sequence[str] = field(compare=False)  # all that the table has

    def roles(self) -> dict[str, str]:
        """Role → column of those that are there."""
        roles = {"image": self.image, "caption": self.caption, "key": self.key, "label": self.label}
        return {role: name for role, name in roles.items() if name is not None}


def choose_columns(names: Sequence[str], options: OpenCall, where: str) -> Columns:
    """Choose among the columns ``names`` of ``where``; an option overrides the usual names."""
    shown = ", ".join(map(repr, names)) or "none"
    by_lower = {name.lower().strip(): name for name in reversed(names)}

    def choose(role: str, usual: Sequence[str] = (), *, needed: bool = False) -> Any:
        asked = getattr(options, f"{role}_column")
        if asked is not None and asked not in names:
            raise InvalidArgumentError(f"{where} has no column {asked!r}; its columns: {shown}")
        name = asked or next((by_lower[name] for name in usual if name in by_lower), None)
        if needed and name is None:
            raise InvalidArgumentError(
                f"{where} has no {role} column of a usual name ({', '.join(usual[:4])}, …); its "
                f"columns: {shown}; name it with {role}_column=…"
            )
        return name

    number_rows = options.key_column == ROW_KEYS and ROW_KEYS not in names
    columns = Columns(
        image=choose("image", IMAGE_NAMES, needed=True),
        caption=choose("caption", CAPTION_NAMES, needed=True),
        key=None if number_rows else choose("key"),
        label=choose("label", LABEL_NAMES),
        number_rows=number_rows,
        names=names,
    )
    for name in columns.roles().values():
        if names.count(name) > 1:
            raise InvalidArgumentError(f"{where} has two columns named {name!r}; rename one")
    return columns


def choose_same_columns(
    before: Columns | None, names: Sequence[str], options: OpenCall, path: Path
) -> Columns:
    """As :func:`choose_columns`, of the next of several tables; ``before``: those of the last."""
    columns = choose_columns(names, options, str(path))
    if before is not None and columns != before:
        raise InvalidArgumentError(
            f"{path} has the columns {names}, the table before it {before.names}; open them one "
            "by one"
        )
    return columns


def first_text(value: Any) -> str:
    """Return a cell of a key, path or label as stripped text, "" for an absent one."""
    return next(iter(texts_of(value)), "")
