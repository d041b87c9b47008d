"""Data sets in CLIP_benchmark's webdataset layout, as ``clip_benchmark_export_wds`` writes them.

    <folder>/classnames.txt                          a class name a line, in the order of the labels
             zeroshot_classification_templates.txt   a prompt a line, with {c} for the class name
             dataset_type.txt                        "retrieval" for captions instead of classes
             test/nshards.txt                        how many shards: 0.tar, 1.tar, …
             test/0.tar                              pictures with .cls (a number) or .txt members
             train/…                                 the same, for a linear probe

A .txt member holds one caption a line; each becomes a row of its own, and all rows of a picture
share a group.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helip.common.errors import InvalidArgumentError, SampleError, UnsupportedError
from helip.common.files import read_text
from helip.common.text import first_of
from helip.data.dataset import Dataset
from helip.data.opening import open_dataset
from helip.data.packed_strings import KeyList, PackedStrings
from helip.evaluation.sets.evaluation_set import EvaluationSet
from helip.evaluation.statistics.intervals import Ints

if TYPE_CHECKING:
    from PIL import Image

CLASSES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
TYPE = "dataset_type.txt"
SHARDS = "nshards.txt"


def is_benchmark(folder: Path, split: str = "test") -> bool:
    """Whether ``folder`` has the layout, with this split."""
    return (folder / split / SHARDS).is_file()


def open_benchmark(folder: Path, split: str = "test", **opening: Any) -> EvaluationSet:
    """Open one split of a local folder; pictures are read where they lie.

    ``opening`` are other options of `open_dataset`, of that split alone.

    Raises InvalidArgumentError for missing shards, a class list with an empty line, and templates
    without ``{c}``; UnsupportedError for data with several labels a picture.
    """
    kind = (_text_of_file(folder / TYPE) or "classification").strip().lower()
    if kind not in ("classification", "retrieval"):
        raise UnsupportedError(
            f"{folder / TYPE} says {kind!r}; helip measures 'classification' (one label a picture) "
            "and 'retrieval'"
        )
    data = open_dataset(_shards(folder, split), **opening)
    if kind == "retrieval":
        return EvaluationSet(data=CaptionRows(data))
    return EvaluationSet(
        data=data,
        tasks=("zero_shot",),
        classes=_classes(folder),
        templates=_templates(folder),
        train=_shards(folder, "train")
        if is_benchmark(folder, "train") and split != "train"
        else None,
    )


class CaptionRows(Dataset):
    """One row for each line of each caption of another data set.

    ``pictures`` int64 [n] is the row of ``parent`` whose picture and caption a row has. A caption
    that cannot be read stays one row, which raises what the parent raises.
    """

    def __init__(self, parent: Dataset) -> None:
        self._parent = parent
        self.max_pixels, self.max_seconds = parent.max_pixels, parent.max_seconds
        pictures, keys = array("q"), []

        def lines() -> Iterator[str]:
            for row, key in enumerate(parent.keys):
                for number, line in enumerate(_lines(parent, row)):
                    pictures.append(row)
                    keys.append(f"{key}#{number}")
                    yield line

        self._captions = PackedStrings.from_strings(lines())
        self._keys = KeyList.from_strings(keys)
        self.pictures: Ints = np.array(pictures, dtype=np.int64)

    @property
    def keys(self) -> KeyList:
        return self._keys

    def counts(self) -> dict[str, int]:
        return {**self._parent.counts(), "rows": len(self)}

    def image_groups(self) -> Ints:
        return self.pictures + 1

    def _read_image(self, row: int) -> Image.Image:
        return self._parent.image(int(self.pictures[row]))

    def _image_source(self) -> tuple[Any, np.ndarray | None] | None:
        found = self._parent._image_source()
        if found is None:
            return None
        source, rows = found
        return source, self.pictures if rows is None else rows[self.pictures]

    def _read_caption(self, row: int) -> str | None:
        return self._captions[row] or self._parent.caption(int(self.pictures[row]))


def _lines(data: Dataset, row: int) -> list[str]:
    try:
        found = [line.strip() for text in data.captions(row) for line in text.splitlines()]
    except SampleError:
        return [""]  # asked for again when it is used, and then counted with its reason
    return [line for line in found if line]


def _shards(folder: Path, split: str) -> list[str]:
    place = folder / split / SHARDS
    text = _text_of_file(place)
    if text is None:
        raise InvalidArgumentError(
            f"{place} is absent; give a folder that has it, or another split"
        )
    if not text.strip().isdecimal() or int(text) < 1:
        raise InvalidArgumentError(f"{place} holds {text.strip()!r}; it must hold a count from 1")
    shards = [folder / split / f"{number}.tar" for number in range(int(text))]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise InvalidArgumentError(
            f"{len(missing)} of the {len(shards)} shards that {place} counts are missing: "
            f"{first_of(missing, 5)}; copy them there"
        )
    return [str(shard) for shard in shards]


def _classes(folder: Path) -> dict[str, str]:
    text = _text_of_file(folder / CLASSES)
    if text is None:
        raise InvalidArgumentError(
            f"{folder / CLASSES} is absent; write one class name a line, in the order of the labels"
        )
    names = [line.strip() for line in text.splitlines()]
    if not names or not all(names):
        line = names.index("") + 1 if names else 1
        raise InvalidArgumentError(f"line {line} of {folder / CLASSES} is empty; name every class")
    return {str(number): name for number, name in enumerate(names)}


def _templates(folder: Path) -> list[str] | None:
    place = folder / TEMPLATES
    text = _text_of_file(place)
    templates = []
    for number, line in enumerate((text or "").splitlines(), start=1):
        if not line.strip():
            continue
        if line.count("{c}") != 1:
            raise InvalidArgumentError(
                f"line {number} of {place} holds '{{c}}' {line.count('{c}')} times; it must hold "
                "it once, where the class name goes"
            )
        templates.append(line.strip().replace("{c}", "{}"))
    return templates or None


def _text_of_file(path: Path) -> str | None:
    """The text of a file; None where there is none."""
    if not path.is_file():
        return None
    return read_text(path)
