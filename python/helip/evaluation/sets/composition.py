"""Compositional sets in the formats of SugarCrepe (arXiv 2306.14610: a picture, its caption and a
wrong one) and Winoground (arXiv 2204.03162: two pictures and two captions of the same words).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helip.common.errors import CorruptError, InvalidArgumentError
from helip.common.files import storage_errors
from helip.data.dataset import Dataset
from helip.data.decoding import decode_image
from helip.data.packed_strings import KeyList
from helip.data.paths import IMAGE_SUFFIXES, read_inside

if TYPE_CHECKING:
    from PIL import Image

EXAMPLES = "examples.jsonl"  # Winoground's own name


@dataclass(frozen=True)
class Item:
    """Pictures and captions that belong together in order; caption 0 is right for picture 0."""

    key: str
    category: str
    pictures: tuple[int, ...]  # one or two rows of the set's pictures
    captions: tuple[str, str]


@dataclass(frozen=True)
class CompositionSet:
    """Items and the pictures that they show."""

    format: str  # "sugarcrepe" or "winoground"
    items: Sequence[Item]
    pictures: Dataset = field(repr=False)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def fingerprint(self) -> str:
        """A digest of the items; pictures count by their names."""
        from helip import _core

        keys = self.pictures.keys
        return _core.keys_fingerprint(
            [
                json.dumps(
                    [item.key, item.category, item.captions, [keys[p] for p in item.pictures]]
                )
                for item in self.items
            ]
        )


def open_composition(
    source: str | os.PathLike[str], *, pictures: str | os.PathLike[str] | None = None
) -> CompositionSet:
    """Open a set in SugarCrepe's or Winoground's format.

    SugarCrepe: a .json file, or a folder of them, one a category; each maps ids to ``filename``,
    ``caption`` and ``negative_caption``. Winoground: a .jsonl file, or a folder with
    ``examples.jsonl``; each line has ``image_0``, ``image_1``, ``caption_0``, ``caption_1`` and,
    where there are some, ``id`` and ``tag`` (its category; ``collapsed_tag`` comes first).

    ``pictures`` is the folder that names of pictures start from and may not leave; by default the
    folder ``images`` beside the file, else the file's own. A name without extension, as
    Winoground's, finds the picture of that stem.
    """
    path = Path(source)
    if (path / EXAMPLES).is_file():
        path = path / EXAMPLES
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise InvalidArgumentError(
            f"{path} has neither .json files (SugarCrepe) nor {EXAMPLES} (Winoground); give "
            "the folder or the file of the captions"
        )
    if files[0].suffix not in _READERS:
        raise InvalidArgumentError(
            f"{path} is no compositional set; give a .json file or a folder of them (SugarCrepe), "
            "or a .jsonl file (Winoground)"
        )
    kind, read = _READERS[files[0].suffix]
    entries = [entry for file in files for entry in read(file)]
    folder = path if path.is_dir() else path.parent
    if not entries:
        raise InvalidArgumentError(f"{folder} has 0 items; give at least one")
    root = folder / "images" if pictures is None else Path(pictures)
    if pictures is None and not root.is_dir():
        root = folder
    if not root.is_dir():
        raise InvalidArgumentError(f"{root} is no folder; give the folder of the pictures")
    found: dict[str, int] = {}
    items = []
    for key, category, names, captions in entries:
        rows = tuple(found.setdefault(_resolved(root, name), len(found)) for name in names)
        items.append(Item(key, category, rows, captions))
    return CompositionSet(kind, items, _Pictures(root, list(found)))


def holds_composition(path: Path) -> bool:
    """Whether ``path`` looks like a compositional set rather than captioned pictures."""
    if path.is_dir():
        files = [path / EXAMPLES, *sorted(path.glob("*.json"))]
        first = next((file for file in files if file.is_file()), None)
        return first is not None and holds_composition(first)
    if path.suffix not in (".json", ".jsonl") or not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(1 << 16)
    return b'"negative_caption"' in start or (b'"caption_1"' in start and b'"image_1"' in start)


class _Pictures(Dataset):
    """Pictures of a folder by their names."""

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root = os.path.realpath(root)
        self._keys = KeyList.from_strings(names)

    @property
    def keys(self) -> KeyList:
        return self._keys

    def _read_image(self, row: int) -> Image.Image:
        key = self._keys[row]
        data = read_inside(self._root, key, key=key)
        return decode_image(data, key=key, max_pixels=self.max_pixels)

    def _read_caption(self, row: int) -> str | None:
        return None


# Key, category, names of the pictures, captions.
_Entry = tuple[str, str, tuple[str, ...], tuple[str, str]]


def _resolved(root: Path, name: str) -> str:
    if name.lower().endswith(IMAGE_SUFFIXES):
        return name
    stems = (name + suffix for suffix in IMAGE_SUFFIXES if (root / (name + suffix)).is_file())
    return next(stems, name)


def _sugarcrepe(path: Path) -> Iterator[_Entry]:
    value = _json(path, _bytes(path))
    if not isinstance(value, (list, dict)):
        raise InvalidArgumentError(f"{path} holds a {type(value).__name__}, not items by their ids")
    for key, item in enumerate(value) if isinstance(value, list) else value.items():
        where = f"{path}, item {key}"
        captions = (_text(item, "caption", where), _text(item, "negative_caption", where))
        yield f"{path.stem}/{key}", path.stem, (_text(item, "filename", where),), captions


def _winoground(path: Path) -> Iterator[_Entry]:
    for number, line in enumerate(_bytes(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        item = _json(where, line)
        names = tuple(_text(item, f"image_{i}", where) for i in (0, 1))
        captions = (_text(item, "caption_0", where), _text(item, "caption_1", where))
        tags = (item.get(name) for name in ("collapsed_tag", "tag"))
        category = next((tag for tag in tags if isinstance(tag, str) and tag), "all")
        yield str(item.get("id", number)), category, names, captions


_READERS = {".json": ("sugarcrepe", _sugarcrepe), ".jsonl": ("winoground", _winoground)}


def _bytes(path: Path) -> bytes:
    with storage_errors("read", path):
        return path.read_bytes()


def _json(where: Any, raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{where} is not valid JSON: {error}") from error


def _text(item: Any, name: str, where: str) -> str:
    value = item.get(name) if isinstance(item, Mapping) else None
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentError(
            f"{where} has no text {name!r}; each item needs filename, caption and negative_caption "
            "(SugarCrepe), or image_0, image_1, caption_0 and caption_1 (Winoground)"
        )
    return value.strip()
