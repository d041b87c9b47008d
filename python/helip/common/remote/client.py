"""Files at URLs: what they are, ranges of their bytes, and new ones, through the library obstore.

Nothing else of helip opens a connection to read or write data. Requests that fail are tried again
by obstore, for a bounded time. Endpoints, regions and credentials come from the environment
variables that obstore reads, such as ``AWS_ACCESS_KEY_ID`` and ``AWS_ENDPOINT``.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from helip.common.errors import Error, StorageError, UnsupportedError, needed
from helip.common.remote.errors import (
    PastEnd,
    first_line,
    storage_error,
    taken,
    unless_absent,
)
from helip.common.remote.urls import path_of

REQUEST_SECONDS = 30  # of one try; obstore's own bound for buckets
CONNECT_SECONDS = 5
RETRIES = 4
RETRY_SECONDS = 60  # after which no other try begins

_started_in: int | None = None  # the process whose threads obstore has


class Stamp(NamedTuple):
    """A file as its server describes it."""

    bytes: int
    modified: int  # nanoseconds since 1970
    tag: str  # its ETag, else its time


class Remote:
    """Files at one host or in one bucket. Not to be used in a process that was forked later."""

    def __init__(self, place: str) -> None:
        """``place`` is ``scheme://host``; raises UnsupportedError where obstore is absent."""
        self._obstore = _obstore()
        # Of buckets the environment decides, whose options these would replace as a whole.
        client: dict[str, Any] = {}
        if place.startswith("http"):
            client["client_options"] = {
                "timeout": timedelta(seconds=REQUEST_SECONDS),
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "allow_http": place.startswith("http://"),
            }
        try:
            self._store = self._obstore.store.from_url(
                place,
                **client,
                retry_config={
                    "max_retries": RETRIES,
                    "retry_timeout": timedelta(seconds=RETRY_SECONDS),
                },
            )
        except Exception as error:
            raise StorageError(
                f"cannot use {place}: {first_line(error)}; check its address and the variables "
                "that obstore reads"
            ) from error

    def whole(self, url: str, *, most: int) -> tuple[Stamp, bytes]:
        """Return what the file is, and all its bytes, ``most`` of them. Raises StorageError."""
        with _translated("read", url):
            result = self._obstore.get(self._store, path_of(url))
            stamp = _stamp_of(result.meta)
            refuse_larger(url, stamp.bytes, most)
            return stamp, bytes(result.bytes())

    def put(
        self,
        url: str,
        contents: bytes | Iterator[Any],
        *,
        new: bool = False,
        piece: int = 8 << 20,
        in_flight: int = 8,
    ) -> None:
        """Write a file, whole or not at all; an iterator's buffers go in pieces, many at a time.

        Where it stops or raises, the pieces that were sent are given up.

        Args:
            new: of bytes: raise TakenError where a file is there already.
            piece: bytes of one. in_flight: pieces at a time, which are held in memory.

        Raises StorageError, and what the iterator raises.
        """
        options: dict[str, Any] = {"mode": "create"} if new else {}
        try:
            with _translated("write", url):
                self._obstore.put(
                    self._store, path_of(url), contents,
                    use_multipart=not isinstance(contents, bytes),
                    chunk_size=piece, max_concurrency=in_flight, **options,
                )  # fmt: skip
        except StorageError as error:
            if not new or error.errno != errno.ENOSYS:
                raise
            # A service without conditional writes: to look before is the best that there is.
            if unless_absent(self.stamp, url) is not None:
                raise taken(url) from error
            self.put(url, contents)

    def listed(self, folder: str) -> dict[str, Stamp]:
        """Name → what it is, of the files in a folder, not of folders in it. Raises StorageError.

        A folder that is not there is an empty one.
        """
        found = self._list(folder).get("objects", ())
        return {str(each["path"]).rpartition("/")[2]: _stamp_of(each) for each in found}

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, as `listed`."""
        found = self._list(folder).get("common_prefixes", ())
        return [str(each).rstrip("/").rpartition("/")[2] for each in found]

    def _list(self, folder: str) -> Mapping[str, Any]:
        def ask() -> Mapping[str, Any]:
            with _translated("list", folder):
                return self._obstore.list_with_delimiter(self._store, path_of(folder))

        return unless_absent(ask) or {}

    def delete(self, urls: Sequence[str]) -> None:
        """Delete files; those that are not there do no harm. Raises StorageError."""

        def ask() -> None:
            with _translated("delete", urls[0]):
                self._obstore.delete(self._store, [path_of(url) for url in urls])

        unless_absent(ask)

    def stamp(self, url: str) -> Stamp:
        """Ask what a file is. Raises StorageError."""
        with _translated("read", url):
            return _stamp_of(self._obstore.head(self._store, path_of(url)))

    def read(self, url: str, begin: int, end: int) -> tuple[Stamp, Any]:
        """Return what the file is, and its bytes [begin, end) as a buffer. Raises StorageError,
        of it PastEnd."""
        with _translated("read", url):
            options = {"range": (begin, end)}
            result = self._obstore.get(self._store, path_of(url), options=options)
            stamp = _stamp_of(result.meta)
            data = result.bytes()
        if len(data) != end - begin:
            raise PastEnd(
                f"cannot read {url}: {len(data):,} of the {end - begin:,} bytes from {begin:,} on "
                f"came, of a file of {stamp.bytes:,}; if it was changed, open or index it again"
            )
        return stamp, data


def refuse_larger(url: str, size: int, most: int) -> None:
    """StorageError of EFBIG for a file that is too large to be read as a whole."""
    if size > most:
        raise StorageError(errno.EFBIG, f"{url} has {size:,} bytes, and at most {most:,} are read")


def _obstore() -> Any:
    global _started_in
    with needed("data at URLs needs obstore", "'helip[remote]'"):
        import obstore
        import obstore.store
    if _started_in not in (None, os.getpid()):
        raise UnsupportedError(
            "URLs were read before this process was forked, and the threads that read them do not "
            "survive a fork; start it by multiprocessing's method 'spawn'"
        )
    _started_in = os.getpid()
    return obstore


@contextlib.contextmanager
def _translated(action: str, url: str) -> Iterator[None]:
    try:
        yield
    except Error:
        raise
    except Exception as error:
        raise storage_error(action, url, error) from error


def _stamp_of(meta: Any) -> Stamp:
    time = meta["last_modified"]
    # A weak tag is as good here, where the size and each picture are compared as well.
    tag = (meta["e_tag"] or time.isoformat()).removeprefix("W/")
    since = time.timestamp()
    return Stamp(int(meta["size"]), int(since) * 10**9 + time.microsecond * 1000, tag)
