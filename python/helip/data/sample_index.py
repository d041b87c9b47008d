"""SampleIndex: where every picture, caption and label of tar shards lies.

Nothing is extracted: members are read at random, by offset. ``docs/formats.md`` has
the rules by which members become samples, and the format of a saved index.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helip import _core
from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError, SampleError
from helip.common.files import storage_errors
from helip.common.machine import core_threads
from helip.common.options import require
from helip.common.patterns import is_url
from helip.common.progress import Follower, ProgressBar
from helip.common.remote.urls import check_url
from helip.data.paths import IMAGE_SUFFIXES, recognise
from helip.data.remote_shards import RemoteShards, index_urls
from helip.store.keys import CoreKeys


class SampleMember(NamedTuple):
    """Where a member lies: ``offset`` and ``bytes`` in shard number ``shard``.

    ``state`` is ``present``, ``absent``, or ``refused`` for a link, a sparse file or a device.
    """

    state: str
    shard: int
    offset: int
    bytes: int


class SampleIndex:
    """An index of the samples of tar shards. Immutable.

    Any number of threads may read at once, files without the GIL; forked processes may read on, of
    URLs spawned ones alone, and spawned ones get a saved index by its path, one in memory as a
    copy.
    """

    def __init__(self, core: _core.SampleIndex, root: str | None = None) -> None:
        """Not to be called: see :meth:`build` and :meth:`open`."""
        self._core = core
        self._root = root
        #: How many shards :meth:`build` read, and did not take over.
        self.scanned = core.scanned
        #: Damaged shards that :meth:`build` left out, each with what is wrong with it.
        self.left_out: dict[str, str] = {}
        self._remote = RemoteShards(core) if core.at_urls else None
        self._kept: tuple[Path, int] | None = None

    @classmethod
    def build(
        cls,
        shards: Any,
        *,
        out: str | os.PathLike[str] | None = None,
        image_extension: str | None = None,
        contents: bool = False,
        threads: int | None = None,
        skip_damaged: bool = False,
        progress: bool = True,
    ) -> SampleIndex:
        """Read the headers of all shards, each once; those at URLs are fetched whole for it.

        Where an index lies in ``out`` already, only shards that are new or changed are read. The
        same shards give the same index, on any number of threads.

        Args:
            shards: tar files: a path, a brace or glob pattern, a list, their folder, or URLs.
            out: a directory to write the index to; None keeps it in memory.
            image_extension: the extension of a sample's picture, such as ``"seg.png"``; None for
                the usual ones.
            contents: also read every byte, so that :meth:`verify` can compare contents later.
            threads: 0 or None for all cores; a shard is read by one. Of URLs so many shards are
                fetched at a time, to temporary files; 4 where it is 0 or None.
            skip_damaged: leave out files that are damaged, such as truncated ones, with all of
                their samples; :attr:`left_out` has them. Where there is one, all are read again.
            progress: a bar on a terminal.

        Raises:
            InvalidArgumentError: no samples, two of one key, or two members of one name.
            CorruptError: a shard is damaged; the message has the place and what to do.
            UnsupportedError: a shard is compressed.
            StorageError: a shard cannot be read, or ``out`` cannot be written.
        """
        found = recognise(shards)
        if found is None or found[0] not in ("tar", "urls"):
            kind = type(shards).__name__ if found is None else f"a {found[0]} source"
            raise InvalidArgumentError(f"an index is made of tar shards, not of {kind}: {shards!r}")
        extensions = [suffix[1:] for suffix in IMAGE_SUFFIXES]
        if image_extension is not None:
            extensions = [_extension(image_extension)]
        previous = _index_at(out)
        paths = [os.fspath(path) for path in found[1]]
        if skip_damaged and found[0] == "urls":
            raise InvalidArgumentError(
                f"skip_damaged is True, which is for files, and {paths[0]} is a URL; copy the "
                "shards, or leave it out"
            )
        left_out: dict[str, str] = {}
        with ProgressBar(None, label="index", unit="bytes", enabled=progress) as bar:
            if found[0] == "urls":
                core = index_urls(paths, extensions, contents, core_threads(threads), previous, bar)
            else:
                read = functools.partial(
                    _core.SampleIndex.build, image_extensions=extensions, contents=contents,
                    threads=core_threads(threads), previous=previous,
                )  # fmt: skip
                try:
                    core = read(paths, progress=Follower(bar))
                except CorruptError as error:
                    if len(paths) == 1:
                        raise
                    # Without the contents it takes seconds where they take hours.
                    heads = functools.partial(read, contents=contents and skip_damaged)
                    left_out = _damaged(paths, heads)
                    if not skip_damaged:
                        raise _all_damage(error, left_out, len(paths)) from error
                    core = read([p for p in paths if p not in left_out], progress=Follower(bar))
        if out is None:
            index = cls(core)
        else:
            if previous is None or core.scanned or core.shards() != previous.shards():
                core.save(os.fspath(out))
            index = cls.open(out)
        index.scanned, index.left_out = core.scanned, left_out
        return index

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        check: bool = True,
    ) -> SampleIndex:
        """Map a saved index; takes milliseconds whatever its size.

        Args:
            path: its directory.
            root: the folder of its shards, where they were moved, or their URL.
            check: look whether each shard still has its size and time, at URLs its size and tag.
                Otherwise that is done when a shard is read.

        Raises:
            StorageError: it or a shard cannot be read. CorruptError: it is damaged.
            MismatchError: a shard was changed, or this is something else.
            UnsupportedError: it was written by a newer version.
        """
        moved = None if root is None else os.fspath(root)
        if moved is not None and is_url(moved):
            check_url(moved)
            moved = moved.rstrip("/")
        elif moved is not None:
            moved = os.path.abspath(moved)
        index = cls(_core.SampleIndex.open(os.path.abspath(os.fspath(path)), moved, check), moved)
        if check and index._remote is not None:
            index._remote.check()
        return index

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a new directory, or take the place of the index that lies there; all or nothing.

        Raises:
            InvalidArgumentError: something else lies there. StorageError: the disk refuses.
        """
        self._core.save(os.fspath(path))

    def verify(
        self, *, contents: bool = False, threads: int | None = None, progress: bool = False
    ) -> None:
        """Compare the index's own checksums, then every row with the headers of its shards.

        Args:
            contents: also compare every byte of the shards, with digests that were taken when the
                index was built with ``contents=True``. Shards at URLs are fetched again either way.
            threads: as in :meth:`build`.
            progress: a bar on a terminal.

        Raises:
            CorruptError: the index or a shard is damaged. MismatchError: a shard was changed.
            InvalidArgumentError: it has no digests of contents.
        """
        with ProgressBar(None, label="verify", unit="bytes", enabled=progress) as bar:
            self._core.verify(contents, core_threads(threads), Follower(bar))
            if self._remote is not None:
                self._remote.verify(contents, core_threads(threads), bar)

    def __len__(self) -> int:
        return len(self._core)

    def __repr__(self) -> str:
        counts = self.counts()
        return f"SampleIndex({counts['rows']:,} rows in {counts['shards']:,} shards)"

    @property
    def keys(self) -> CoreKeys:
        """The unique keys, in row order."""
        return CoreKeys(self._core)

    @property
    def fingerprint(self) -> str:
        """What the samples are, in short, as a data set has it: keys, captions and pictures."""
        return self._core.fingerprint

    def digests(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint64 [n] of the pictures and of the captions of ``rows``; see Dataset.row_digests."""
        return self._core.digests(rows)

    @property
    def path(self) -> str | None:
        """The directory that it is mapped from, None for an index in memory."""
        return self._core.path or None

    @property
    def image_extensions(self) -> list[str]:
        """Extensions of members that are taken for pictures."""
        return self._core.image_extensions

    @property
    def has_contents(self) -> bool:
        """Whether it has digests of the contents of its shards."""
        return self._core.contents

    @property
    def shards(self) -> list[dict[str, Any]]:
        """Of each shard: path, first_row, rows, bytes, modified (ns), digests, ignored."""
        return self._core.shards()

    @property
    def at_urls(self) -> bool:
        """Whether its shards are URLs."""
        return self._remote is not None

    def counts(self) -> dict[str, int]:
        """Rows, shards, rows without a picture or caption, and members left out by reason."""
        return self._core.counts()

    def member(self, row: int, field: str) -> SampleMember:
        """Where ``image``, ``text``, ``json`` or ``label`` of a row lies."""
        return SampleMember(*self._core.member(row, field))

    def read(self, row: int, field: str) -> bytes:
        """Return the bytes of a member.

        Raises:
            SampleError: it is absent, too large, or cannot be read.
            MismatchError: the shard was changed since it was indexed.
        """
        try:
            if self._remote is not None:
                return bytes(self._remote.view(row, field))
            return self._core.read(row, field)
        except SampleError as error:
            error.key = self.keys[row]
            raise

    def will_need(self, rows: np.ndarray) -> None:
        """Tell the system that pictures and captions of ``rows`` [n] will be read soon.

        It fetches them meanwhile, and from then on reads nothing ahead by itself in these shards.
        """
        (self._core if self._remote is None else self._remote).will_need(rows)

    def _will_need_captions(self, rows: np.ndarray) -> None:
        if self._remote is not None:
            self._remote.will_need(rows, pictures=False)

    def cache_counts(self) -> dict[str, int]:
        """See Dataset.cache_counts."""
        return {} if self._remote is None else self._remote.cache_counts()

    def _keep_in(self, folder: Path, size: int) -> None:
        """Keep what is read at URLs in a folder, also in processes that this index goes to."""
        if self._remote is not None:
            self._kept = folder, size
            self._remote.keep_in(folder, size)

    def pictures(self) -> Any:
        """The core's reader of the same pictures: a ``_core.ImageSource``."""
        if self._remote is not None:
            return self._remote.pictures()
        return _core.ShardImages(self._core)

    def __reduce__(self) -> tuple[Any, ...]:
        data = self._core.to_bytes() if self.path is None else None
        identity = (self._core.generation, self.fingerprint)
        return _restored, (data, self.path, self._root, identity, self._kept)


def _index_at(out: str | os.PathLike[str] | None) -> _core.SampleIndex | None:
    """What lies in ``out`` already, None where there is nothing of use."""
    if out is None:
        return None
    with storage_errors("look at", out):
        if not (Path(out) / "manifest.json").exists():
            return None
    try:
        return _core.SampleIndex.open(os.fspath(out), check_shards=False)
    except CorruptError:
        return None


def _damaged(paths: list[str], read: Callable[..., Any]) -> dict[str, str]:
    """Path → what is wrong, of files that cannot be indexed even alone."""
    found: dict[str, str] = {}
    for path in paths:
        try:
            read([path])
        except CorruptError as error:
            found[path] = str(error)
        except InvalidArgumentError:
            continue  # without samples, or with a key twice: the whole says so
    if len(found) == len(paths):
        raise CorruptError(f"all {len(paths):,} shards are damaged, such as: {found[paths[0]]}")
    return found


def _all_damage(error: CorruptError, damaged: dict[str, str], count: int) -> CorruptError:
    """The first error, with how many files are like it and what can be done."""
    if not damaged:
        return error
    first, number = next(iter(damaged.values())), len(damaged)
    others = f"{number} of {count:,} shards are damaged, the first: " if number > 1 else ""
    return CorruptError(
        f"{others}{first}. To do without {'them' if number > 1 else 'it'}: helip index SHARDS "
        "--out INDEX --skip-damaged"
    )


def _restored(
    data: bytes | None, path: str, root: str | None, identity: Any, kept: tuple[Path, int] | None
) -> SampleIndex:
    """The index that was pickled: from its bytes, or opened again from its directory."""
    if data is not None:
        index = SampleIndex(_core.SampleIndex.from_bytes(data))
    else:
        index = SampleIndex.open(path, root=root, check=False)
        if (index._core.generation, index.fingerprint) != identity:
            raise MismatchError(
                f"the index {path} was built again while it was in use; open the data set again"
            )
    if kept is not None:
        index._keep_in(*kept)
    return index


def _extension(text: str) -> str:
    named = isinstance(text, str) and text.lstrip(".") != ""
    require(named, "image_extension", text, "text such as 'jpg' or 'seg.png'")
    return text.lower().lstrip(".")
