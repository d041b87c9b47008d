"""Which column of a table is the picture, the caption, the key and the label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from helip.common.errors import InvalidArgumentError

if TYPE_CHECKING:
    from helip.data.options import OpenCall

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

ROW_KEYS = "row"


@dataclass(frozen=True)
class Columns:
    """The chosen columns; ``key`` is None for the default keys, ``ROW_KEYS`` for row numbers."""

    image: str
    caption: str
    key: str | None
    label: str | None
    number_rows: bool


def choose_columns(names: Sequence[str], options: OpenCall, where: str) -> Columns:
    """Choose among the columns ``names`` of ``where``; an option overrides the usual names."""
    doubled = sorted({name for name in names if list(names).count(name) > 1})
    image = _choose(names, options.image_column, IMAGE_NAMES, "image", where)
    caption = _choose(names, options.caption_column, CAPTION_NAMES, "caption", where)
    assert image is not None
    assert caption is not None
    number_rows = options.key_column == ROW_KEYS and ROW_KEYS not in names
    key = None
    if options.key_column is not None and not number_rows:
        key = _choose(names, options.key_column, (), "key", where)
    label = _choose(names, options.label_column, LABEL_NAMES, "label", where, needed=False)
    for name in (image, caption, key, label):
        if name in doubled:
            raise InvalidArgumentError(f"{where} has two columns named {name!r}; rename one")
    return Columns(image, caption, key, label, number_rows)


def _choose(
    names: Sequence[str],
    asked: str | None,
    usual: Sequence[str],
    role: str,
    where: str,
    *,
    needed: bool = True,
) -> str | None:
    shown = ", ".join(map(repr, names)) or "none"
    if asked is not None:
        if asked in names:
            return asked
        raise InvalidArgumentError(f"{where} has no column {asked!r}; its columns: {shown}")
    by_lower = {name.lower().strip(): name for name in reversed(names)}
    for name in usual:
        if name in by_lower:
            return by_lower[name]
    if not needed:
        return None
    raise InvalidArgumentError(
        f"{where} has no {role} column of a usual name ({', '.join(usual[:4])}, …); its columns: "
        f"{shown}; name it with {role}_column=…"
    )


def first_text(value: Any) -> str:
    """Return a cell as stripped text: the first of a list of captions, "" for an absent one."""
    if isinstance(value, (list, tuple)):
        value = next((item for item in value if isinstance(item, str) and item.strip()), "")
    if value is None or isinstance(value, (dict, float, bool)):
        return ""
    return str(value).strip()
