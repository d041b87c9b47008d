"""Compositional sets in the formats of their authors.

SugarCrepe (arXiv 2306.14610) and ARO (arXiv 2210.01936): a picture, its caption and a wrong one.
SugarCrepe++ (arXiv 2406.11171): a picture, two captions of it and a wrong one.
Winoground (arXiv 2204.03162) and COLA (arXiv 2305.03689): two pictures and two captions.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, TypeGuard

from helip.common.errors import InvalidArgumentError
from helip.common.files import reading_file
from helip.data.dataset import Dataset
from helip.data.formats.text_table import parse_json
from helip.data.paths import IMAGE_SUFFIXES
from helip.evaluation.sets.named_pictures import NamedPictures, folder_of_pictures

EXAMPLES = "examples.jsonl"  # Winoground's own name


@dataclass(frozen=True)
class Item:
    """Pictures and captions that belong together in order; caption 0 is right for picture 0.

    Of one picture the last caption is wrong, and all others are right.
    """

    key: str
    category: str
    pictures: tuple[int, ...]  # one or two rows of the set's pictures
    captions: tuple[str, ...]  # two or three, as many as of the other items of the set


@dataclass(frozen=True)
class CompositionSet:
    """Items and the pictures that they show."""

    task: ClassVar[str] = "composition"
    format: str  # "sugarcrepe", "sugarcrepe++", "winoground", "aro" or "cola"
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
    """Open a set in the format of SugarCrepe, SugarCrepe++, ARO, Winoground or COLA.

    SugarCrepe: a .json file, or a folder of them, one a category; each maps ids to ``filename``,
    ``caption`` and ``negative_caption``. SugarCrepe++ has ``caption2`` besides, which is right as
    well, and lists. Winoground: a .jsonl file, or a folder with
    ``examples.jsonl``; each line has ``image_0``, ``image_1``, ``caption_0``, ``caption_1`` and,
    where there are some, ``id`` and ``tag`` (its category; ``collapsed_tag`` comes first). ARO: a
    .json list with ``image_path``, ``true_caption``, ``false_caption``, the box of the picture that
    they are about (``bbox_x``, ``bbox_y``, ``bbox_w``, ``bbox_h``), and ``relation_name`` or
    ``attributes``, the category. COLA: a .json list of [picture, caption, picture, caption];
    a picture's URL stands for its file.

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
    if files[0].suffix not in (".json", ".jsonl"):
        raise InvalidArgumentError(
            f"{path} is no compositional set; give a .json file or a folder of them (SugarCrepe, "
            "SugarCrepe++, ARO, COLA), or a .jsonl file (Winoground)"
        )
    kinds = {_format_of(file): file for file in files}
    if len(kinds) > 1:
        raise InvalidArgumentError(
            f"{path} holds files of several formats ({', '.join(sorted(kinds))}); give one of them"
        )
    kind = next(iter(kinds))
    entries = [entry for file in files for entry in _READERS[kind](file)]
    folder = path if path.is_dir() else path.parent
    if not entries:
        raise InvalidArgumentError(f"{folder} has 0 items; give at least one")
    root = folder_of_pictures(folder, pictures)
    found: dict[str, int] = {}
    items = []
    for key, category, names, captions in entries:
        rows = tuple(found.setdefault(_resolved(root, *name), len(found)) for name in names)
        items.append(Item(key, category, rows, captions))
    return CompositionSet(kind, items, NamedPictures(root, list(found)))


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
    if b'"negative_caption"' in start or (b'"caption_1"' in start and b'"image_1"' in start):
        return True
    return b'"false_caption"' in start or _COLA.match(start) is not None


# A name, and what follows it where a part of the picture is meant.
_Picture = tuple[str, str]
# Key, category, pictures, captions.
_Entry = tuple[str, str, tuple[_Picture, ...], tuple[str, ...]]

_COLA = re.compile(rb'\s*\[\s*\[\s*"')


def _resolved(root: Path, name: str, part: str) -> str:
    if not name.lower().endswith(IMAGE_SUFFIXES):
        stems = (name + suffix for suffix in IMAGE_SUFFIXES if (root / (name + suffix)).is_file())
        name = next(stems, name)
    return name + part


def _format_of(path: Path) -> str:
    if path.suffix == ".jsonl":
        return "winoground"
    with reading_file(path), path.open("rb") as file:
        start = file.read(1 << 16)
    if _COLA.match(start):
        return "cola"
    if b'"false_caption"' in start:
        return "aro"
    return "sugarcrepe++" if b'"caption2"' in start else "sugarcrepe"


def _sugarcrepe(path: Path, right: tuple[str, ...] = ("caption",)) -> Iterator[_Entry]:
    value = parse_json(_bytes(path), str(path))
    if not isinstance(value, (list, dict)):
        raise InvalidArgumentError(f"{path} holds a {type(value).__name__}, not items by their ids")
    for key, item in enumerate(value) if isinstance(value, list) else value.items():
        where = f"{path}, item {key}"
        captions = tuple(_text_of(item, name, where) for name in (*right, "negative_caption"))
        yield f"{path.stem}/{key}", path.stem, ((_text_of(item, "filename", where), ""),), captions


def _winoground(path: Path) -> Iterator[_Entry]:
    for number, line in enumerate(_bytes(path).splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        item = parse_json(line, where)
        names = tuple((_text_of(item, f"image_{i}", where), "") for i in (0, 1))
        captions = (_text_of(item, "caption_0", where), _text_of(item, "caption_1", where))
        tags = (item.get(name) for name in ("collapsed_tag", "tag"))
        category = next((tag for tag in tags if isinstance(tag, str) and tag), "all")
        yield str(item.get("id", number)), category, names, captions


def _aro(path: Path) -> Iterator[_Entry]:
    for number, item in enumerate(_items(path)):
        where = f"{path}, item {number}"
        captions = (_text_of(item, "true_caption", where), _text_of(item, "false_caption", where))
        relation, attributes = item.get("relation_name"), item.get("attributes")
        category = relation or "_".join(map(str, attributes or ())) or "all"
        box = [item.get(f"bbox_{side}") for side in "xywh"]
        if not all(isinstance(each, (int, float)) for each in box) or min(box[2:]) < 1:
            raise InvalidArgumentError(
                f"{where} has the box {box}; bbox_x, bbox_y, bbox_w and bbox_h must be numbers, "
                "and the box at least a pixel wide and high"
            )
        part = f"#{','.join(str(int(each)) for each in box)}"
        picture = (_text_of(item, "image_path", where), part)
        yield f"{path.stem}/{number}", category, (picture,), captions


def _cola(path: Path) -> Iterator[_Entry]:
    for number, item in enumerate(_items(path)):
        where = f"{path}, item {number}"
        if not isinstance(item, list) or len(item) != 4 or not all(map(_is_text, item)):
            raise InvalidArgumentError(
                f"{where} must be [picture, caption, picture, caption], and is {item!r:.80}"
            )
        # Pictures are given by their URLs.
        names = tuple((PurePosixPath(url.strip()).name, "") for url in item[::2])
        yield f"{path.stem}/{number}", "all", names, (item[1].strip(), item[3].strip())


_READERS: dict[str, Callable[[Path], Iterator[_Entry]]] = {
    "sugarcrepe": _sugarcrepe,
    "sugarcrepe++": partial(_sugarcrepe, right=("caption", "caption2")),
    "winoground": _winoground,
    "aro": _aro,
    "cola": _cola,
}


def _items(path: Path) -> list[Any]:
    value = parse_json(_bytes(path), str(path))
    if not isinstance(value, list):
        raise InvalidArgumentError(f"{path} holds a {type(value).__name__}, not a list of items")
    return value


def _bytes(path: Path) -> bytes:
    with reading_file(path):
        return path.read_bytes()


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(value.strip())


def _text_of(item: Any, name: str, where: str) -> str:
    value = item.get(name) if isinstance(item, Mapping) else None
    if not _is_text(value):
        raise InvalidArgumentError(
            f"{where} has no text {name!r}; each item needs filename, caption and negative_caption "
            "(SugarCrepe; caption2 as well in SugarCrepe++), image_path, true_caption and "
            "false_caption (ARO), or image_0, image_1, caption_0 and caption_1 (Winoground)"
        )
    return value.strip()
