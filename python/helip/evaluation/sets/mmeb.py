"""Sets in the format of MMEB (arXiv 2410.05160, TIGER-Lab/MMEB-eval): queries with candidates.

    <folder>/ImageNet-1K/test-00000-of-00001.parquet    a data set a folder
             VisDial/test/0000.parquet                  or in its folder test
             images/…                                   pictures, by the paths of the columns

A row is a query (``qry_text``, ``qry_img_path``) with its candidates (lists ``tgt_text`` and
``tgt_img_path``), of which the first is right. Each is a text, a picture, or both; "" is none, and
one "" for the list is none of any candidate.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from helip.common.errors import Error, InvalidArgumentError
from helip.data.dataset import Dataset
from helip.data.formats.table import parquet_columns, parquet_schema
from helip.evaluation.sets.named_pictures import NamedPictures, folder_of_pictures
from helip.evaluation.statistics.intervals import Ints

QUERY = ("qry_text", "qry_img_path")
TARGETS = ("tgt_text", "tgt_img_path")

#: MMEB's groups of data sets.
GROUPS = {
    "classification": (
        "ImageNet-1K", "N24News", "HatefulMemes", "VOC2007", "SUN397", "Place365", "ImageNet-A",
        "ImageNet-R", "ObjectNet", "Country211",
    ),
    "VQA": (
        "OK-VQA", "A-OKVQA", "DocVQA", "InfographicsVQA", "ChartQA", "Visual7W", "ScienceQA",
        "VizWiz", "GQA", "TextVQA",
    ),
    "retrieval": (
        "VisDial", "CIRR", "VisualNews_t2i", "VisualNews_i2t", "MSCOCO_t2i", "MSCOCO_i2t", "NIGHTS",
        "WebQA", "FashionIQ", "Wiki-SS-NQ", "OVEN", "EDIS",
    ),
    "grounding": ("MSCOCO", "RefCOCO", "RefCOCO-Matching", "Visual7W-Pointing"),
}  # fmt: skip
OTHER = "other"  # group of all other data sets
_GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}


def group_of(name: str) -> str:
    """MMEB's group of a data set."""
    return _GROUP_OF.get(name, OTHER)


@dataclass(frozen=True)
class ChoiceSet:
    """Queries with candidates, of which the first is right.

    ``inputs`` int64 [u, 2] are the distinct queries and candidates, each by the numbers of its text
    and of its picture, -1 for none; ``queries`` int64 [n] and ``candidates`` int64 [m] are rows of
    it. Those of query i are ``offsets[i]`` to ``offsets[i + 1]``; ``sets`` int64 [n] are numbers of
    ``names``.
    """

    task: ClassVar[str] = "choice"
    format: ClassVar[str] = "mmeb"
    names: Sequence[str]  # of the data sets
    sets: Ints = field(repr=False)
    queries: Ints = field(repr=False)
    candidates: Ints = field(repr=False)
    offsets: Ints = field(repr=False)
    inputs: Ints = field(repr=False)
    texts: Sequence[str] = field(repr=False)
    pictures: Dataset = field(repr=False)

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def fingerprint(self) -> str:
        """A digest of names, queries and candidates; pictures count by their names."""
        from helip import _core

        numbers = hashlib.sha256()
        for each in (self.sets, self.queries, self.candidates, self.offsets, self.inputs):
            numbers.update(np.ascontiguousarray(each).tobytes())
        strings = [*self.names, "", *self.texts, "", *self.pictures.keys, numbers.hexdigest()]
        return _core.keys_fingerprint(strings)


def holds_mmeb(path: Path) -> bool:
    """Whether ``path`` has MMEB's columns, by the first Parquet file."""
    try:
        files = _files(path)
        return bool(files) and {*QUERY, *TARGETS} <= set(parquet_schema(files[0]).names)
    except Error:  # which opening it as something else will tell
        return False


def open_mmeb(
    source: str | os.PathLike[str], *, pictures: str | os.PathLike[str] | None = None
) -> ChoiceSet:
    """Open a folder of data sets in MMEB's format, the folder of one, or a file.

    ``pictures`` is the folder that paths of pictures start from and may not leave; by default the
    folder ``images`` within ``source``, else that itself. A data set is called as its folder.
    """
    path = Path(source)
    files = _files(path)
    if not files:
        raise InvalidArgumentError(f"{path} has no Parquet files; give a folder of MMEB's format")
    root = folder_of_pictures(path if path.is_dir() else path.parent, pictures)
    reader = _Reader()
    for file in files:
        reader.read(file)
    if not reader.known[1]:
        raise InvalidArgumentError(f"{path} names no picture; give sets with pictures")
    return reader.made(root)


class _Reader:
    """Reads files one after another, and numbers what they hold."""

    def __init__(self) -> None:
        self.known: tuple[dict[str, int], dict[str, int]] = {}, {}  # texts, pictures
        self.inputs: dict[int, int] = {}  # text and picture in one number -> row
        self.names: dict[str, int] = {}
        self.parts: list[tuple[Ints, Ints, Ints, Ints]] = []

    def read(self, file: Path) -> None:
        there = set(parquet_schema(file).names)
        if missing := [name for name in (*QUERY, *TARGETS) if name not in there]:
            raise InvalidArgumentError(
                f"{file} has no column {missing[0]!r}; MMEB's format has {', '.join(QUERY)}, "
                f"{' and '.join(TARGETS)}"
            )
        table = parquet_columns(file, (*QUERY, *TARGETS))
        columns, rows = _checked(table, file), len(table)
        asked = [self._numbers(columns[side], side) for side in (0, 1)]
        (texts, counts), (pictures, shown) = (self._lists(columns[2 + s], s) for s in (0, 1))
        if counts is None:
            counts = np.zeros(rows, dtype=np.int64) if shown is None else shown
            texts = np.full(counts.sum(), -1)
        if shown is None:
            pictures, shown = np.full(len(texts), -1), counts
        for row in np.flatnonzero((counts != shown) | (counts < 2))[:1].tolist():
            raise InvalidArgumentError(
                f"{file}, row {row} has {counts[row]} of tgt_text and {shown[row]} of "
                "tgt_img_path; give as many of both, at least 2, the right candidate first"
            )
        text, picture = np.append(asked[0], texts), np.append(asked[1], pictures)
        row_of = np.append(np.arange(rows), np.repeat(np.arange(rows), counts))
        for row in row_of[(text < 0) & (picture < 0)][:1].tolist():
            raise InvalidArgumentError(
                f"{file}, row {row} has a query or a candidate without text and picture; give one "
                "of them"
            )
        codes, places = np.unique((text + 1 << 32) + picture + 1, return_inverse=True)
        known = [self.inputs.setdefault(code, len(self.inputs)) for code in codes.tolist()]
        numbers = np.array(known, dtype=np.int64)[places]
        name = self.names.setdefault(_name_of(file), len(self.names))
        self.parts.append((np.full(rows, name), numbers[:rows], numbers[rows:], counts))

    def made(self, root: Path) -> ChoiceSet:
        sets, queries, candidates, counts = map(np.concatenate, zip(*self.parts, strict=True))
        codes = np.array(list(self.inputs), dtype=np.int64)
        return ChoiceSet(
            names=list(self.names),
            sets=sets,
            queries=queries,
            candidates=candidates,
            offsets=np.append(0, np.cumsum(counts)),
            inputs=np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1) - 1,
            texts=list(self.known[0]),
            pictures=NamedPictures(root, list(self.known[1])),
        )

    def _numbers(self, strings: Any, side: int) -> Ints:
        """The number of each string, -1 of an empty one; ``side`` 0 for texts, 1 for pictures."""
        known = self.known[side]
        coded = strings.fill_null("").dictionary_encode()
        words = coded.dictionary.to_pylist()
        numbers = [known.setdefault(each, len(known)) if each else -1 for each in words]
        return np.array(numbers, dtype=np.int64)[coded.indices.to_numpy()]

    def _lists(self, column: Any, side: int) -> tuple[Ints, Ints | None]:
        """The numbers of all lists together, and the length of each; None for "" alone."""
        if not hasattr(column, "value_lengths"):
            return np.empty(0, dtype=np.int64), None
        lengths = column.value_lengths().fill_null(0).to_numpy()
        return self._numbers(column.flatten(), side), lengths.astype(np.int64)


def _checked(table: Any, file: Path) -> list[Any]:
    """The columns as arrays of strings, and of lists of them or of "" alone."""
    from pyarrow import types

    columns = []
    for name in (*QUERY, *TARGETS):
        column = table[name].combine_chunks()
        lists = types.is_list(column.type) or types.is_large_list(column.type)
        listed = lists and name in TARGETS
        kind = column.type.value_type if listed else column.type
        if not types.is_string(kind) and not types.is_large_string(kind):
            raise InvalidArgumentError(
                f"{file}: {name} is of type {column.type}; it must hold "
                f"{'lists of ' if name in TARGETS else ''}strings"
            )
        if name in TARGETS and not listed and any(column.unique().to_pylist()):
            raise InvalidArgumentError(
                f'{file}: {name} holds strings; give a list a query, or "" for all'
            )
        columns.append(column)
    return columns


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if path.suffix == ".parquet" and path.is_file() else []

    def found(*places: str) -> list[Path]:
        return sorted({file for place in places for file in path.glob(place)})

    # Beside the files of one data set other folders are its other splits.
    return found("*.parquet", "test/*.parquet") or found("*/*.parquet", "*/test/*.parquet")


def _name_of(file: Path) -> str:
    """A data set is called as the folder of its file, or of that folder where it is ``test``."""
    folder = file.resolve().parent
    return folder.parent.name if folder.name == "test" else folder.name
