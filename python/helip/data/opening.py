"""Opens data sets of captioned pictures: looks at a source and hands it to the one module that
knows its format. All of them give a :class:`Dataset`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.options import keywords
from helip.common.patterns import existing_paths, is_url, natural
from helip.common.yaml_files import load_yaml
from helip.data.caption_rows import CaptionRows
from helip.data.dataset import ACCEPTED, Dataset
from helip.data.formats import hugging_face
from helip.data.formats.folder import FolderDataset
from helip.data.formats.map_style import MapDataset
from helip.data.formats.table import open_tables
from helip.data.formats.tar import open_index, open_shards
from helip.data.options import OF_URLS, OpenCall, OpenOptions
from helip.data.paths import recognise
from helip.data.selection import selected

# Of a file that describes a data set: its endings, and what counts from its folder.
_SUFFIXES = (".yaml", ".yml")
_PATHS = ("source", "root", "subset", "cache")
_OF_ANY_SOURCE = ("row_per", "subset", "limit")
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


@keywords(OpenCall)
def open_dataset(call: OpenCall) -> Dataset:
    """Open captioned pictures of any accepted format; nothing is extracted.

    With ``subset`` or ``limit`` the result has the rows that these leave, numbered from 0 and with
    the fingerprint of these rows alone; ``counts()`` tells how many each left out. What was made
    of such a data set belongs to the data opened with the same options.

    What lies at a URL is read by ranges, once it is asked for. An index of it is made by reading
    all of it once, so save one: see `SampleIndex.build`. With ``cache`` it is kept on this machine,
    ``cache_size`` bytes at most, for later epochs and other processes.

    Raises:
        InvalidArgumentError: no format fits, a column is missing, or two rows have one key; there
            is no such split, ``subset`` names what is not in the data, or no row is left.
        CorruptError: a shard or table is damaged; the message names file and place.
        UnsupportedError: a library is absent, or the source has no random access.
    """
    if isinstance(call.source, Dataset):
        others = [name for name in OpenOptions.of(call).as_dict() if name not in _OF_ANY_SOURCE]
        call.refuse([*others, "keys"], "an open data set")
        return _chosen_rows(call.source, call)
    with described(call) as call:
        if call.split is not None:
            call = replace(call, source=source_of_split(call.source, call.split))
        return _chosen_rows(_open_source(call), call)


def _chosen_rows(data: Dataset, call: OpenCall) -> Dataset:
    if call.row_per == "caption" and not isinstance(data, CaptionRows):
        data = CaptionRows(data)
    return selected(data, call)


def _open_source(call: OpenCall) -> Dataset:
    """The whole of a source."""
    found = recognise(call.source)
    if found is None or found[0] not in ("tar", "urls", "index"):
        call.refuse(OF_URLS, "data that are no tar shards at URLs")
    if found is None:
        return _open_object(call.source, call)
    kind, paths = found
    if kind in ("tar", "urls"):
        return open_shards(paths, call)
    if kind == "index":
        return open_index(paths[0], call)
    if kind == "table":
        return open_tables(paths, call)
    if kind == "saved":
        return hugging_face.open_saved(paths[0], call)
    return FolderDataset(paths[0], call)


def _open_object(source: Any, options: OpenCall) -> Dataset:
    """Wrap an object that is no path: Hugging Face's or a map-style data set."""
    if type(source).__module__.partition(".")[0] == "datasets":
        return hugging_face.open_hugging_face(source, options)
    if isinstance(source, (dict, bytes)) or not hasattr(source, "__getitem__"):
        if hasattr(source, "__iter__") and not isinstance(source, (dict, bytes)):
            raise UnsupportedError(
                f"{type(source).__name__} can only be iterated, and hard pairs need random "
                "access; give a map-style data set, or write it to tar shards"
            )
        raise InvalidArgumentError(f"cannot open {type(source).__name__}: {ACCEPTED}")
    return MapDataset(source, options)


@contextlib.contextmanager
def described(call: OpenCall) -> Iterator[OpenCall]:
    """The call that a file ``source: …`` with options below it stands for; any other as it is.

    An error inside begins with the file.

    Paths in the file count from its folder. An option of the call that is not None goes before that
    of the file.

    Raises:
        InvalidArgumentError: the file is not such a mapping, names what is no option, or cannot be
            read.
    """
    source = call.source
    if not isinstance(source, (str, os.PathLike)) or is_url(os.fspath(source)):
        yield call
        return
    path = Path(source)
    if path.suffix.lower() not in _SUFFIXES or path.is_dir():
        yield call
        return
    said = _mapping(path)
    options = OpenOptions.of(call).as_dict()
    given = {name: value for name, value in options.items() if value is not None}
    try:
        yield replace(call, **{**said, **given})
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{path}: {error}") from error


def _mapping(path: Path) -> dict[str, Any]:
    said, _ = load_yaml(path)
    if not _is_source(said.get("source")):
        raise InvalidArgumentError(
            f"{path} describes no data set; it must hold `source: PATH`, or a list of paths, and "
            "options of opening it, one a line"
        )
    names = OpenOptions().as_dict().keys()
    for name in said:
        if name != "source" and name not in names:
            raise InvalidArgumentError(
                f"{path} names {name!r}, must be source or an option of opening: {', '.join(names)}"
            )
    for name in _PATHS:
        if said.get(name) is not None:
            said[name] = _paths_from(path.parent, said[name])
    return said


def _is_source(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, str) for each in value)
    return isinstance(value, str) and value != ""


def _paths_from(folder: Path, value: Any) -> Any:
    """Paths as whoever reads the file from elsewhere finds them."""
    if isinstance(value, list):
        return [_paths_from(folder, each) for each in value]
    if not isinstance(value, str) or is_url(value):
        return value
    return os.path.join(folder, value)


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
