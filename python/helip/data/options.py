"""Options of opening a data set."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from annotated_types import Gt

from helip.common.errors import InvalidArgumentError
from helip.common.options import INFINITE, Options, Positive, require
from helip.common.quantities import parse_bytes

# Pillow's own limit: twice its warning threshold, a picture of 512 MiB in RGB.
MAX_PIXELS = 178_956_970
#: Options of shards at URLs alone.
OF_URLS = ("cache", "cache_size")
_CACHE_BYTES = 20 * 10**9
_FEWEST_CACHE_BYTES = 64 << 20  # less than one batch would not serve the next
# Seconds; a picture of MAX_PIXELS takes two to seven on an idle core.
MAX_SECONDS = 10.0

#: Who reads pictures: threads of the core, or Pillow.
Reader = Literal["auto", "core", "pillow"]


@dataclass(frozen=True, kw_only=True)
class OpenOptions(Options):
    """How a data set is read.

    None is what the caller did not give: what a file that describes the data says, else the usual.
    """

    image_column: str | None = None
    """Column of the picture, else guessed; of tar shards its extension, such as seg.png."""
    caption_column: str | None = None
    """Column of the caption, else guessed; of tar shards the field of the sample's .json."""
    key_column: str | None = None
    """Column of the keys, else the picture's path; row, where no column has that name, numbers."""
    label_column: str | None = None
    """Column of the class, else guessed."""
    root: str | os.PathLike[str] | None = None
    """Folder that picture paths start from and may not leave, else that of the table, where
    absolute paths are read wherever they lie; of an index the folder or URL of its shards."""
    follow_links: bool | None = None
    """Also read pictures through symbolic links that lead out of root; None: no."""
    max_pixels: Positive | None = None
    """A larger picture is quarantined as too_large; None: 178,956,970."""
    max_seconds: Annotated[float, Gt(0.0), INFINITE] | None = None
    """A picture that takes longer to decode is quarantined as too_slow; None: 10; inf sets no
    limit."""
    split: str | None = None
    """Of a source that holds several: its subfolder, files named after it, a DatasetDict's."""
    row_per: Literal["picture", "caption"] | None = None
    """caption: a row for each caption of a picture, with the key KEY#0, KEY#1, …; subset and limit
    choose among these. None: picture."""
    subset: str | os.PathLike[str] | Collection[Any] | None = None
    """Only these rows: a file of keys, one a line, a .npy of bools or row numbers, a keep list of
    helip curate; in Python also a list or array."""
    limit: Positive | None = None
    """Only the first so many rows, of those that subset leaves."""
    cache: str | os.PathLike[str] | None = None
    """Of shards at URLs: a folder that keeps what was read, for later epochs and other processes;
    None keeps nothing."""
    cache_size: int | str | None = None
    """Bytes that cache may take, or such as "100GB"; None: 20 GB. What was used longest ago goes
    first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("image_column", "caption_column", "key_column", "label_column"):
            require(getattr(self, name) != "", name, "", "a column's name")
        for name in ("split", "subset", "cache"):
            value = getattr(self, name)
            require(not isinstance(value, str) or value != "", name, value, "a name")
        require(
            self.cache_bytes >= _FEWEST_CACHE_BYTES, "cache_size", self.cache_size, "64MiB or more"
        )

    @property
    def limits(self) -> tuple[int, float]:
        """``max_pixels`` and ``max_seconds``, the usual ones where they are not given."""
        return self.max_pixels or MAX_PIXELS, self.max_seconds or MAX_SECONDS

    @property
    def cache_bytes(self) -> int:
        """``cache_size`` as a number."""
        return parse_bytes(self.cache_size, name="cache_size") or _CACHE_BYTES

    def refuse(self, names: Iterable[str], source: str) -> None:
        """Raise where an option is set that ``source`` has no use for."""
        defaults = {each.name: each.default for each in fields(self)}
        for name in names:
            # By identity: == on arrays and sequences need not give a bool.
            value = getattr(self, name)
            if value is not defaults[name] and value is not False:
                raise InvalidArgumentError(
                    f"{name}={value!r} does not apply to {source}; leave it out"
                )


@dataclass(frozen=True, kw_only=True)
class OpenCall(OpenOptions):
    """What `open_dataset` is asked."""

    source: Any = field(kw_only=False)
    """Tar shards (a path, a brace or glob pattern, a list, a folder, URLs of http, https, s3, gs or
    az), an index of them, a table
    (.csv, .tsv, .jsonl, .parquet), a folder of pictures, a Hugging Face datasets.Dataset or its
    saved folder, or any map-style torch Dataset. A Dataset is returned
    as it is, or as row_per, subset and limit ask for it."""
    keys: Sequence[str] | None = None
    """Unique keys, one a row, for sources that have no columns (torch data sets)."""
    progress: bool = True
    """A bar while many shards are scanned."""


@dataclass(frozen=True, kw_only=True)
class PackOptions(Options):
    """How pictures and shards are cut."""

    size: Positive = 256
    """What the shorter side of a larger picture becomes, pixels."""
    shard_size: int | str = "1GB"
    """Most bytes of a shard. A larger sample has one of its own."""
