"""Opens data sets of captioned pictures: looks at a source and hands it to the one module that
knows its format. All of them give a :class:`Dataset`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.data import paths as data_paths
from helip.data.dataset import ACCEPTED, MAX_PIXELS, Dataset, KeyList, OpenOptions, SampleError
from helip.data.formats import wrapped as data_wrap
from helip.data.formats.folder import FolderDataset
from helip.data.formats.table import open_table
from helip.data.formats.tar import open_index, open_shards

if TYPE_CHECKING:
    import os

__all__ = ["Dataset", "KeyList", "SampleError", "open_dataset"]


def open_dataset(
    source: Any,
    *,
    image_column: str | None = None,
    caption_column: str | None = None,
    key_column: str | None = None,
    label_column: str | None = None,
    keys: Sequence[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    follow_links: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: bool = True,
) -> Dataset:
    """Open captioned pictures of any accepted format; nothing is extracted or downloaded.

    Args:
        source: tar shards (a path, a brace or glob pattern, a list, a folder), an index of them
            (``helip index``), a table (.csv, .tsv, .jsonl, .parquet), a folder of pictures, a
            Hugging Face ``datasets.Dataset`` or its saved folder, or any map-style torch
            ``Dataset``. A :class:`Dataset` is returned as it is.
        image_column: column of the picture (a path, or bytes); guessed from usual names if None.
            For tar shards: the extension of the picture's member, such as ``"seg.png"``.
        caption_column: column of the caption; for tar shards the field of the sample's .json.
        key_column: column of the keys. ``"row"``, where no column has that name, numbers the
            rows. By default the path of the picture, or the row number where there is none.
        label_column: column of the class; guessed if None.
        keys: unique keys, one a row, for sources that have no columns (torch data sets).
        root: the folder that picture paths start from and may not leave; by default the folder
            of the table. For an index, the folder of its shards where they were moved.
        follow_links: also read pictures through symbolic links that lead out of ``root``.
        max_pixels: a larger picture raises ``SampleError`` with the reason ``too_large``.
        progress: show a bar while many shards are scanned.

    Raises:
        InvalidArgumentError: no format fits, a column is missing, or two rows have one key.
        CorruptError: a shard or table is damaged; the message names file and place.
        UnsupportedError: a library is absent, or the source has no random access.
    """
    options = OpenOptions(
        image_column=image_column,
        caption_column=caption_column,
        key_column=key_column,
        label_column=label_column,
        keys=keys,
        root=root,
        follow_links=follow_links,
        max_pixels=max_pixels,
        progress=progress,
    )
    if isinstance(source, Dataset):
        options.refuse(
            [f.name for f in fields(OpenOptions) if f.name != "progress"], "an open data set"
        )
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


def _open_object(source: Any, options: OpenOptions) -> Dataset:
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
