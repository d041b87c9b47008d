"""Which files of a source are those of one split, such as train."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError
from helip.common.patterns import existing_paths, is_url, natural
from helip.data.dataset import ACCEPTED

_SHOWN = 12
# Files that may hold one split each, in the order of preference.
_BY_NAME = (".tar", ".parquet", ".csv", ".tsv", ".jsonl")
# What data sets call their splits; datasets.load_dataset knows the same.
_USUAL = (
    "train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval",
    "evaluation",
)  # fmt: skip
_USUAL_FIRST = re.compile(rf"(?:{'|'.join(_USUAL)})(?:$|[-._ 0-9])")
_NUMBERED = re.compile(r"(?:^|[-._ ])([^-._ ]+)-\d+-of-\d+")


def source_of_split(source: Any, split: str) -> Any:
    """The part of ``source`` that is ``split``, to be opened as if it were given itself.

    A folder has a split as a subfolder, or as .tar, .parquet, .csv, .tsv or .jsonl files whose
    names hold it as a word (``cc3m-train-0001.tar``, ``train-00000-of-00009.parquet``,
    ``train.tsv``), also below ``data``, where the Hub keeps them. A name that begins with the word
    of another usual split is of that one: ``train-test-0.tar`` is of ``train``.

    A list or a pattern of such files has it by their names. Of a ``datasets.DatasetDict``, in
    memory or saved, it is the part of that name.

    Raises:
        InvalidArgumentError: there is no such split, with those that there are; a source that has
            none.
    """
    if isinstance(source, Mapping):
        if split not in source:
            raise _absent(split, f"the {type(source).__name__}", source)
        return source[split]
    listed = list(source) if isinstance(source, (list, tuple)) else [source]
    if not listed or not all(isinstance(each, (str, os.PathLike)) for each in listed):
        raise _does_not_apply(split, f"a {type(source).__name__}")
    if any(isinstance(each, str) and is_url(each) for each in listed):
        raise _does_not_apply(split, "URLs, whose shards are named by braces")
    paths = [path for each in listed for path in existing_paths(each, ACCEPTED)]
    if len(paths) == 1 and paths[0].is_dir():
        return _of_folder(paths[0], split)
    if any(path.is_dir() or path.suffix.lower() not in _BY_NAME for path in paths):
        raise _does_not_apply(split, f"{paths[0]}")
    if not (found := _named(paths, split)):
        raise _absent(split, f"{listed[0]}", _splits_of(paths))
    return found


def _of_folder(folder: Path, split: str) -> Any:
    inside = sorted(path.name for path in folder.iterdir() if path.is_dir())
    inside = [name for name in inside if not name.startswith(".")]
    if split in inside:
        return folder / split
    found = []
    for place in (folder, folder / "data"):
        files = sorted(place.iterdir(), key=natural) if place.is_dir() else []
        for suffix in _BY_NAME:
            same = [path for path in files if path.suffix.lower() == suffix]
            if chosen := _named(same, split):
                return chosen
            found += _splits_of(same)
    found += [name for name in inside if name != "data" or not found]
    raise _absent(split, f"{folder}", found)


def _named(paths: Iterable[Path], split: str) -> list[Path]:
    return [path for path in paths if _is_of(path.stem, split)]


def _is_of(name: str, split: str) -> bool:
    word = rf"{re.escape(split)}(?:$|[-._ 0-9])"
    if re.match(word, name):
        return True
    return not _USUAL_FIRST.match(name) and re.search(rf"[-._ ]{word}", name) is not None


def _splits_of(paths: Iterable[Path]) -> list[str]:
    """Names of splits that file names hold, as far as they are usual or numbered."""
    found: dict[str, None] = {}
    for path in paths:
        words = (*_NUMBERED.findall(path.stem), *_USUAL)
        found |= {name: None for name in words if _is_of(path.stem, name)}
    return list(found)


def _absent(split: str, where: str, there: Iterable[Any]) -> InvalidArgumentError:
    names = [str(name) for name in there]
    more = f", … ({len(names):,})" if len(names) > _SHOWN else ""
    known = f"has {', '.join(names[:_SHOWN])}{more}; give one of them" if names else (
        "has no splits; leave it out"
    )  # fmt: skip
    return InvalidArgumentError(f"split is {split!r}, and {where} {known}")


def _does_not_apply(split: str, source: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"split is {split!r}, which does not apply to {source}; name the files of the split, or "
        "choose its rows by subset"
    )
