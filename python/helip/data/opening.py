"""Opens data sets of captioned pictures: looks at a source and hands it to the one module that
knows its format. All of them give a :class:`Dataset`.
"""

from __future__ import annotations

from typing import Any

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.options import keywords
from helip.data import paths as data_paths
from helip.data.dataset import ACCEPTED, Dataset
from helip.data.formats import wrapped as data_wrap
from helip.data.formats.folder import FolderDataset
from helip.data.formats.table import open_table
from helip.data.formats.tar import open_index, open_shards
from helip.data.options import OpenCall, OpenOptions


@keywords(OpenCall)
def open_dataset(call: OpenCall) -> Dataset:
    """Open captioned pictures of any accepted format; nothing is extracted or downloaded.

    Raises:
        InvalidArgumentError: no format fits, a column is missing, or two rows have one key.
        CorruptError: a shard or table is damaged; the message names file and place.
        UnsupportedError: a library is absent, or the source has no random access.
    """
    source, options = call.source, call
    if isinstance(source, Dataset):
        options.refuse([*OpenOptions.of(call).as_dict(), "keys"], "an open data set")
        return source

    found = data_paths.recognise(source)
    if found is None:
        return _open_object(source, options)
    kind, paths = found
    if kind == "tar":
        return open_shards(paths, options)
    if kind == "index":
        return open_index(paths[0], options)
    if kind == "table":
        return open_table(paths, options)
    if kind == "saved":
        return data_wrap.open_saved(paths[0], options)
    return FolderDataset(paths[0], options)


def _open_object(source: Any, options: OpenCall) -> Dataset:
    """Wrap an object that is no path: Hugging Face's or a map-style data set."""
    if type(source).__module__.partition(".")[0] == "datasets":
        return data_wrap.open_hugging_face(source, options)
    if isinstance(source, (dict, bytes)) or not hasattr(source, "__getitem__"):
        if hasattr(source, "__iter__") and not isinstance(source, (dict, bytes)):
            raise UnsupportedError(
                f"{type(source).__name__} can only be iterated, and hard pairs need random "
                "access; give a map-style data set, or write it to tar shards"
            )
        raise InvalidArgumentError(f"cannot open {type(source).__name__}: {ACCEPTED}")
    return data_wrap.MapDataset(source, options)
