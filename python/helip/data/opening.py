"""Opens data sets of captioned pictures: looks at a source and hands it to the one module that
knows its format. All of them give a :class:`Dataset`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.options import keywords
from helip.data.dataset import ACCEPTED, Dataset
from helip.data.described import described
from helip.data.formats import hugging_face
from helip.data.formats.folder import FolderDataset
from helip.data.formats.map_style import MapDataset
from helip.data.formats.parquet import open_parquet
from helip.data.formats.tar import open_index, open_shards
from helip.data.formats.text_table import open_text_table
from helip.data.options import OF_URLS, OpenCall, OpenOptions
from helip.data.paths import recognise
from helip.data.selection import selected
from helip.data.splits import source_of_split

_OF_ANY_SOURCE = ("subset", "limit")


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
        return selected(call.source, call)
    with described(call) as call:
        if call.split is not None:
            call = replace(call, source=source_of_split(call.source, call.split))
        return selected(_open(call), call)


def _open(call: OpenCall) -> Dataset:
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
        return _open_tables(paths, call)
    if kind == "saved":
        return hugging_face.open_saved(paths[0], call)
    return FolderDataset(paths[0], call)


def _open_tables(paths: Sequence[Path], options: OpenCall) -> Dataset:
    """Open .csv, .tsv, .jsonl or .parquet files of one kind as one data set."""
    options.refuse(("keys",), "tables; name a column with key_column=")
    kinds = {path.suffix.lower() for path in paths}
    if len(kinds) > 1:
        raise InvalidArgumentError(
            f"tables of several kinds ({', '.join(sorted(kinds))}) given; open them one by one"
        )
    return (open_parquet if kinds == {".parquet"} else open_text_table)(paths, options)


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
