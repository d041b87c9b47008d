"""Files at URLs: what they are, and ranges of their bytes, through the library obstore.

Nothing else of helip opens a connection to read data. Requests that fail are tried again by
obstore, for a bounded time. Endpoints, regions and credentials come from the environment variables
that obstore reads, such as ``AWS_ACCESS_KEY_ID`` and ``AWS_ENDPOINT``.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import Any, NamedTuple

from helip.common.errors import StorageError, UnsupportedError, needed
from helip.data.remote.urls import path_of

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


class PastEnd(StorageError):
    """A range that ends, or begins, behind the end of its file."""


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
            raise StorageError(f"cannot use {place}: {_first_line(error)}") from error

    def stamp(self, url: str) -> Stamp:
        """Ask what a file is. Raises StorageError."""
        try:
            return _stamp_of(self._obstore.head(self._store, path_of(url)))
        except Exception as error:
            raise _storage_error(url, error) from error

    def read(self, url: str, begin: int, end: int) -> tuple[Stamp, Any]:
        """Return what the file is, and its bytes [begin, end) as a buffer. Raises StorageError,
        of it PastEnd."""
        try:
            options = {"range": (begin, end)}
            result = self._obstore.get(self._store, path_of(url), options=options)
            stamp = _stamp_of(result.meta)
            data = result.bytes()
        except Exception as error:
            raise _storage_error(url, error) from error
        if len(data) != end - begin:
            raise PastEnd(
                f"cannot read {url}: {len(data):,} of the {end - begin:,} bytes from {begin:,} on "
                f"came, of a file of {stamp.bytes:,}; if it was changed, index it again"
            )
        return stamp, data


def _obstore() -> Any:
    global _started_in
    with needed("reading shards at URLs needs obstore", "'helip[remote]'"):
        import obstore
        import obstore.store
    if _started_in not in (None, os.getpid()):
        raise UnsupportedError(
            "URLs were read before this process was forked, and the threads that read them do not "
            "survive a fork; start it by multiprocessing's method 'spawn'"
        )
    _started_in = os.getpid()
    return obstore


def _stamp_of(meta: Any) -> Stamp:
    time = meta["last_modified"]
    # A weak tag is as good here, where the size and each picture are compared as well.
    tag = (meta["e_tag"] or time.isoformat()).removeprefix("W/")
    since = time.timestamp()
    return Stamp(int(meta["size"]), int(since) * 10**9 + time.microsecond * 1000, tag)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].strip()


_CAUSES = {
    "Connect": "no connection",
    "Timeout": "no answer in time",
    "Interrupted": "the connection broke off",
    "Request": "the connection failed",
}
_MENDS = {
    "401": "give credentials by the variables that obstore reads, such as AWS_ACCESS_KEY_ID",
    "403": "give credentials by the variables that obstore reads, such as AWS_ACCESS_KEY_ID, or "
    "make it readable",
    "404": "check its address",
    "416": "it is shorter than when it was indexed: index it again",
}


def _storage_error(url: str, error: Exception) -> StorageError:
    text = str(error)
    status = re.search(r"status code: ((\d{3})[^:\n]*)", text)
    kind = re.search(r"kind: (\w+)", text)
    if "Range request not supported" in text:
        what = "its server sends the whole file where a range was asked for"
        mend = "serve it where HTTP range requests are answered"
    elif status:
        what = status[1].strip()
        mend = _MENDS.get(status[2], "try again later")
    elif kind and kind[1] in _CAUSES:
        what = _CAUSES[kind[1]]
        mend = "look whether its server can be reached"
    else:
        what, mend = _first_line(error), "check its address and the variables that obstore reads"
    tries = re.search(r"after (\d+) retries", text)
    again = f" after {tries[1]} more tries" if tries else ""
    kind_of_error = PastEnd if status and status[2] == "416" else StorageError
    return kind_of_error(f"cannot read {url}: {what}{again}; {mend}")
