"""What every data set of captioned pictures is, whatever its format.

A :class:`Dataset` has rows in a fixed order, each with a unique key, read at random. No row is ever
left out: one that cannot be read raises :class:`SampleError` when it is asked for, and ``counts()``
tells what was found on opening.
"""

from __future__ import annotations

import multiprocessing
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from helip.common.errors import InvalidArgumentError, SampleError
from helip.common.text import first_of, table_html
from helip.data.captions import caption_digests, packed_groups
from helip.data.decoding import decode_image
from helip.data.options import MAX_PIXELS, MAX_SECONDS
from helip.data.packed_strings import KeyList
from helip.data.thumbnails import sample_html
from helip.store.data_identity import fingerprint_of

_SHOWN = 5  # rows in a notebook
#: Rows that a data set is told of at a time: so many to twice as many are on their way. With
#: pictures of 100 KB that is 6 to 13 MB, and many reads for a disk or a network to work on at once.
AHEAD = 64

ACCEPTED = """a data set can be
  tar shards        "cc3m/{00000..00331}.tar", "cc3m/*.tar", a list of paths, their folder, or URLs
  their index       the directory that helip index wrote
  a table           .csv, .tsv, .jsonl or .parquet with a picture and a caption column
  a folder          pictures with same-stem .txt files, or metadata.csv / captions.csv|tsv|json(l)
  a description     a .yaml file: source: PATH, and options of opening it, one a line
  datasets.Dataset  of Hugging Face, or the folder that save_to_disk wrote
  torch Dataset     any object with len() and [i] that gives (image, caption) or a dict"""


class Dataset(ABC):
    """Captioned pictures in a fixed order.

    ``len(d)``, ``d.keys``, ``d.fingerprint``, ``d[i]``, ``d.image(i)``, ``d.captions(i)``,
    ``d.caption(i)``, ``d.label(i)``, ``d.counts()``, ``d.subset(rows)``. Rows count from 0;
    negative ones from the end. Safe to read from threads, and from workers that were forked or
    spawned.
    """

    max_pixels: int = MAX_PIXELS
    max_seconds: float = MAX_SECONDS
    #: Some of the files that opening passed over, for a message; counts() has their number.
    ignored_files: Sequence[str] = ()
    _caption_groups: tuple[np.ndarray, np.ndarray] | None = None  # once they were asked for

    @property
    @abstractmethod
    def keys(self) -> Sequence[str]:
        """The unique keys, in row order; a lazy sequence."""

    @abstractmethod
    def _read_image(self, row: int) -> Image.Image:
        """Return the picture of a valid row as RGB."""

    def _read_captions(self, row: int) -> Sequence[str | None]:
        """Return all captions of a valid row."""
        return [self._read_caption(row)]

    def _read_caption(self, row: int) -> str | None:
        """Return the one caption of a valid row, or None; for :meth:`_read_captions` alone."""
        raise NotImplementedError(
            f"{type(self).__name__} must have a method _read_caption or _read_captions"
        )

    def _read_label(self, row: int) -> str | None:
        return None

    def _will_need(self, rows: np.ndarray) -> None:
        """Take the hint that valid ``rows`` int64 [n] will be read soon, pictures and captions."""
        return

    def _will_need_captions(self, rows: np.ndarray) -> None:
        """Take the hint that captions of valid ``rows`` int64 [n] will be read soon."""
        return

    def _survives_fork(self) -> bool:
        """Whether a worker process may be forked from one that has read."""
        return True

    def _is_remote(self) -> bool:
        """Whether a look at a sample fetches it."""
        return False

    def _image_source(self) -> tuple[Any, np.ndarray | None] | None:
        """Return a ``_core.ImageSource`` and the row of it for each row [n], or None for "the
        same"; None where the core cannot read these pictures by itself."""
        return None

    def _image_path(self, row: int) -> str | None:
        return None

    def _image_bytes(self, row: int) -> bytes | None:
        """Return the picture of a valid row compressed as it lies; None where that is unknown."""
        return None

    def _read_pair(self, row: int) -> tuple[Image.Image, tuple[str, ...]]:
        # Captions first: they are cheap, and without one the picture need not be decoded.
        captions = self._checked_captions(row, self._read_captions(row))
        return self._read_image(row), captions

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def fingerprint(self) -> str:
        """What the data is, in short: keys in order, captions, and pictures as far as is cheap.

        Of the form ``KEYS-CAPTIONS-SIZES-ENDS``, 0 in place of what is not known. A store and a
        table made from other data are refused by it. Computed when it is first asked for; then it
        reads the captions.
        """
        return fingerprint_of(self)

    def row_digests(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint64 [n] of the pictures and of the captions of ``rows`` [n]; 0 where not known.

        Of a picture its size in the low half and, of tar shards, a digest of its end in the high
        one; of a caption XXH3-64.
        """
        return self._image_digests(rows), self._caption_digests(rows)

    def _image_digests(self, rows: np.ndarray) -> np.ndarray:
        return np.zeros(len(rows), dtype=np.uint64)

    def _caption_digests(self, rows: np.ndarray) -> np.ndarray:
        return caption_digests(self._all_captions_of(rows.tolist()))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return ``{"key": str, "image": PIL RGB, "text": str, "captions": tuple[str, ...],
        "index": int}`` of a row; ``text`` is the first of its captions.

        Raises:
            SampleError: this one sample cannot be read.
            IndexError: there is no such row.
        """
        row = self._row(index)
        image, captions = self._read_pair(row)
        texts = {"text": captions[0], "captions": captions}
        return {"key": self.keys[row], "image": image, **texts, "index": row}

    def image(self, index: int) -> Image.Image:
        """Return the picture of a row: RGB, turned upright by its EXIF orientation."""
        return self._read_image(self._row(index))

    def image_path(self, index: int) -> str | None:
        """Return the path of the picture's own file; None where it lies in a shard or a column, or
        where there is none."""
        return self._image_path(self._row(index))

    def captions(self, index: int) -> tuple[str, ...]:
        """Return all captions of a row without surrounding white space; one at least."""
        row = self._row(index)
        return self._checked_captions(row, self._read_captions(row))

    def caption(self, index: int) -> str:
        """Return the first caption of a row, which stands for it where one is shown."""
        return self.captions(index)[0]

    def caption_groups(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ``offsets`` int64 [n + 1] and ``groups``: which rows have equal captions.

        The groups of row i, ``groups[offsets[i] : offsets[i + 1]]``, are those of its captions
        (see `helip.data.captions`); a row whose caption cannot be read has none. Reads all captions
        once, and keeps 16 bytes a row.
        """
        if self._caption_groups is None:
            self._caption_groups = packed_groups(self._all_captions_of(range(len(self))))
        return self._caption_groups

    def image_groups(self) -> np.ndarray | None:
        """Return a number a row, int64 [n], the same for rows that show the same picture; None
        where no picture is known to stand at two rows."""
        return None

    def label(self, index: int) -> str | None:
        """Return the class of a row, or None where the data has none."""
        return self._read_label(self._row(index))

    def counts(self) -> dict[str, int]:
        """Account of what opening found: ``rows``, ``missing_image``, ``missing_caption``, …

        What became no row of its own: ``joined_rows`` of a table name the picture of another row
        and give it their captions, ``joined_lines`` of a text belong to the line before by a quoted
        field, and files are ``ignored_hidden``, ``ignored_text`` (without a picture),
        ``ignored_other``, …

        Contents are not read on opening: a damaged picture shows when it is asked for.
        """
        return {"rows": len(self)}

    def cache_counts(self) -> dict[str, int]:
        """What this process has had of the ``cache`` on disk since it opened the data; empty where
        there is none.

        Blocks that were there (``hits``), were fetched (``misses``), were ``damaged`` and fetched
        again, made room for others (``evicted``) or could not be written (``not_kept``);
        ``bytes_fetched`` and ``bytes_from_cache``. A loader adds what its worker processes had.
        """
        return {}

    def subset(self, rows: Iterable[int] | np.ndarray) -> Dataset:
        """Return the data set of ``rows`` (row numbers, or a mask of bools), in that order."""
        return Subset(self, rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} rows)"

    def _repr_html_(self) -> str:
        """The first rows with small pictures, for notebooks; nothing is fetched for it."""
        shown = range(min(len(self), _SHOWN))
        rows = [(str(row), self.keys[row], sample_html(self, row)) for row in shown]
        return table_html(repr(self), ("row", "key", "picture and caption"), rows)

    def _row(self, index: int) -> int:
        try:
            row = operator.index(index)
        except TypeError:
            raise TypeError(
                f"a row number must be an integer, not {type(index).__name__}; "
                "for several rows use subset(rows)"
            ) from None
        size = len(self)
        if not -size <= row < size:
            raise IndexError(f"row {row} is outside 0..{size - 1}")
        return row % size

    def _checked_captions(self, row: int, texts: Sequence[str | None]) -> tuple[str, ...]:
        captions = tuple(dict.fromkeys(text.strip() for text in texts if text and text.strip()))
        if not captions:
            raise self._sample_error(row, "missing_caption", "it has no caption")
        try:
            "".join(captions).encode("utf-8")
        except UnicodeEncodeError:
            detail = "its caption has surrogates that stand for no character"
            raise self._sample_error(row, "unreadable_caption", detail) from None
        return captions

    def _all_captions_of(self, rows: Sequence[int]) -> Iterator[tuple[str, ...]]:
        return map(self._readable_captions, read_ahead(self, rows, captions=True))

    def _readable_captions(self, row: int) -> tuple[str, ...]:
        try:
            return self.captions(row)
        except SampleError:
            return ()

    def _sample_error(self, row: int, reason: str, detail: str) -> SampleError:
        key = self.keys[row]
        return SampleError(f"sample {key!r} (row {row}): {detail}", key=key, reason=reason)

    def _decoded(self, row: int, data: bytes) -> Image.Image:
        return decode_image(
            data,
            key=self.keys[row],
            max_pixels=self.max_pixels,
            max_seconds=self.max_seconds,
        )

    def _utf8(self, row: int, data: bytes) -> str:
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            detail = f"its text is not UTF-8: {error}"
            raise self._sample_error(row, "unreadable_caption", detail) from error


class KeyedDataset(Dataset):
    """A data set whose keys and labels are in memory."""

    _keys: KeyList
    _labels: Sequence[str] | None = None  # "" where a row has none
    _duplicate_mend = "keys must be unique: drop or rename one"

    @property
    def keys(self) -> KeyList:
        return self._keys

    def _read_label(self, row: int) -> str | None:
        return (self._labels[row] or None) if self._labels is not None else None

    def _take_keys(self, keys: KeyList) -> None:
        """Set the keys; raise where there are none or two rows have one."""
        self._keys = keys
        if len(keys) == 0:
            raise InvalidArgumentError(f"{self!r} has no samples; check that the source is right")
        if found := keys.first_duplicate():
            first, second = found
            raise InvalidArgumentError(
                f"two samples have the key {keys[second]!r}: {self._place(first)} and "
                f"{self._place(second)}; {self._duplicate_mend}"
            )

    def _place(self, row: int) -> str:
        return f"row {row}"


def _of_parent(name: str) -> Any:
    """The method of this name of the data set that a subset is of, for one of its rows or an array
    of them."""

    def method(self: Subset, rows: int | np.ndarray) -> Any:
        there = self._rows[rows]
        return getattr(self._parent, name)(there if there.ndim else int(there))

    return method


class Subset(KeyedDataset):
    """Some rows of another data set, in the order that they were named."""

    def __init__(self, parent: Dataset, rows: Iterable[int] | np.ndarray) -> None:
        given = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows))
        chosen = row_numbers(given, len(parent), "rows is an array")
        self.max_pixels, self.max_seconds = parent.max_pixels, parent.max_seconds
        self._parent = parent
        self._rows = chosen  # int64 [n]
        self._keys = KeyList.from_strings(parent.keys[row] for row in chosen.tolist())

    def source_rows(self) -> tuple[Dataset, np.ndarray]:
        """The data set that it is of, which is no subset itself, and the row there of each row,
        int64 [n]."""
        if isinstance(self._parent, Subset):
            source, rows = self._parent.source_rows()
            return source, rows[self._rows]
        return self._parent, self._rows

    _read_image = _of_parent("_read_image")
    _image_path = _of_parent("_image_path")
    _image_bytes = _of_parent("_image_bytes")
    _read_captions = _of_parent("_read_captions")
    _read_label = _of_parent("_read_label")
    _read_pair = _of_parent("_read_pair")
    row_digests = _of_parent("row_digests")
    _will_need = _of_parent("_will_need")
    _will_need_captions = _of_parent("_will_need_captions")

    def image_groups(self) -> np.ndarray | None:
        groups = self._parent.image_groups()
        return None if groups is None else groups[self._rows]

    def cache_counts(self) -> dict[str, int]:
        return self._parent.cache_counts()

    def _is_remote(self) -> bool:
        return self._parent._is_remote()

    def _survives_fork(self) -> bool:
        return self._parent._survives_fork()

    def _image_source(self) -> tuple[Any, np.ndarray | None] | None:
        found = self._parent._image_source()
        if found is None:
            return None
        source, rows = found
        return source, self._rows if rows is None else rows[self._rows]


class _Part(Subset):
    """Rows of a data set that one job works through in parts: messages number them as it does."""

    def _sample_error(self, row: int, reason: str, detail: str) -> SampleError:
        return self._parent._sample_error(int(self._rows[row]), reason, detail)


def read_ahead(data: Any, rows: Sequence[int], *, captions: bool = False) -> Iterator[int]:
    """Yields ``rows``; tells ``data``, if it is a Dataset, of those that come next.

    ``captions``: they alone will be read.
    """
    tell = getattr(data, "_will_need_captions" if captions else "_will_need", None)
    for place, row in enumerate(rows):
        if tell is not None and place % AHEAD == 0:
            coming = rows[place + AHEAD if place else 0 : place + 2 * AHEAD]
            tell(np.asarray(coming, dtype=np.int64))
        yield row


def row_numbers(rows: np.ndarray, size: int, words: str) -> np.ndarray:
    """int64 [n]: the rows of a data set of ``size`` that are named, in that order, or those where a
    mask is True.

    InvalidArgumentError, which begins with ``words``: no such rows, a mask of another size, a row
    that is named twice.
    """
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "biu"):
        raise InvalidArgumentError(
            f"{words}, which holds {rows.dtype} {list(rows.shape)}; it must hold one bool a row, "
            "or one list of row numbers"
        )
    if rows.dtype == np.bool_:
        if len(rows) != size:
            raise InvalidArgumentError(
                f"{words}, a mask of {len(rows):,} bools, and the data have {size:,} rows; give "
                "one bool a row"
            )
        return np.flatnonzero(rows)
    outside = rows[(rows < 0) | (rows >= size)]
    if outside.size:
        raise InvalidArgumentError(
            f"{words}, and {outside.size:,} of its {len(rows):,} rows are outside of 0 .. "
            f"{size - 1}: {first_of(map(str, outside[:4].tolist()))}; remove them, or open the "
            "data that they are of"
        )
    named, times = np.unique(rows, return_counts=True)
    if (times > 1).any():
        if len(rows) == size and named[-1] <= 1:
            raise InvalidArgumentError(
                f"{words}, which holds {rows.dtype} 0 and 1, one a row; a mask must be bool: "
                "mask.astype(bool)"
            )
        raise InvalidArgumentError(
            f"{words}, which names row {named[times > 1][0]} more than once; name each row once, "
            "or give a mask as bool"
        )
    return rows.astype(np.int64)


def start_method(data: Any, workers: int) -> str | None:
    """How DataLoader's ``workers`` that read ``data`` must be started; None for the usual way."""
    if workers == 0 or not isinstance(data, Dataset) or data._survives_fork():
        return None
    chosen = multiprocessing.get_start_method(allow_none=True)
    return chosen if chosen in ("spawn", "forkserver") else "spawn"


def part_of(data: Dataset, rows: np.ndarray) -> Dataset:
    """The data set of ``rows`` int64 [n] of ``data``, whose messages name the rows of ``data``."""
    return _Part(data, rows)
