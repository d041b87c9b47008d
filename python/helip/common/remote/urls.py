"""URLs that are read and written: which are taken, their parts, and what in them is secret."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from helip.common.errors import InvalidArgumentError, UnsupportedError

SCHEMES = ("http", "https", "s3", "gs", "az")
#: Where files can be written, listed and deleted.
BUCKETS = ("s3", "gs", "az")

# A pathlib.Path has one slash where a URL has two.
_KNOWN = re.compile(rf"({'|'.join((*SCHEMES, 'file'))}):/+(?=.)", re.IGNORECASE)
_ANY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

#: Stands for what would be a secret.
REDACTED = "***"
# A pathlib.Path has one slash where a URL has two.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]+:/+"
_USER = re.compile(rf"({_SCHEME})[^/\s?#]*@")
_QUERY = re.compile(rf"({_SCHEME}[^\s?#]*)[?#]\S+")
# In Markdown a bracket or the border of a cell ends a URL, and a fragment is a place of a page.
_QUERY_IN_MARKDOWN = re.compile(rf"({_SCHEME}[^\s?#)\]>|]*)\?[^\s)\]>|]+")


def url_of(path: object) -> str | None:
    """The URL that a path or a ``pathlib.Path`` made of one stands for; None for local paths.

    A ``file://`` URL is a local path: see `local_path`.

    Raises:
        UnsupportedError: another scheme, a query. InvalidArgumentError: credentials in it.
    """
    if not isinstance(path, (str, os.PathLike)) or not isinstance(text := os.fspath(path), str):
        return None
    if ":" not in text:  # nearly every path, and opening a store takes no longer than this looks
        return None
    found = _KNOWN.match(text)
    if found is None:
        if _ANY.match(text):
            check_url(text)
        return None
    if found[1].lower() == "file":
        return None
    scheme, host, rest = check_url(f"{found[1]}://{text[found.end() :]}")
    return f"{scheme}://{host}{rest}"


def shown(path: str | os.PathLike[str]) -> str:
    """A path in words, also one that has lost a slash of its URL."""
    text = os.fspath(path)
    found = _KNOWN.match(text)
    return f"{found[1]}://{text[found.end() :]}" if found and found[1] != "file" else text


def local_path(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The same path, of a ``file://`` URL the path that it names."""
    text = os.fspath(path)
    found = _KNOWN.match(text) if isinstance(text, str) and ":" in text else None
    if found is None or found[1].lower() != "file":
        return path
    host, _, rest = text[found.end() :].partition("/")
    if text.startswith(f"{found[1]}://") and not text.startswith(f"{found[1]}:///"):
        if host != "localhost":
            raise InvalidArgumentError(
                f"{without_secrets(text)!r} must be file:///PATH, with three slashes"
            )
        return f"/{unquote(rest)}"
    return f"/{unquote(text[found.end() :])}"


def place_of(urls: Iterable[str]) -> str:
    """``scheme://host`` of all ``urls``. Raises InvalidArgumentError where there are several."""
    places: dict[str, str] = {}
    for url in urls:
        scheme, host, _ = check_url(url)
        places.setdefault(f"{scheme}://{host}", url)
    if len(places) != 1:
        raise InvalidArgumentError(
            f"shards of one data set must lie at one host or in one bucket, not at "
            f"{' and '.join(list(places)[:3])}; open them one by one"
        )
    return next(iter(places))


def check_url(url: str) -> tuple[str, str, str]:
    """Scheme, host and path of a URL of one of SCHEMES; raises where it is none, or has more."""
    parts = urlsplit(url)
    shown = without_secrets(url)
    if parts.scheme.lower() not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise UnsupportedError(f"{shown!r} is neither a local path nor a URL of {known}")
    if "@" in parts.netloc:
        raise InvalidArgumentError(
            f"a URL at {parts.hostname} has credentials in it, which would be kept in what is "
            "written; give them by the environment variables that obstore reads"
        )
    if parts.query or parts.fragment:
        raise UnsupportedError(
            f"{shown!r} has a query or a fragment, and ranges are read of plain paths alone; serve "
            "the files at such paths, or give credentials by the variables that obstore reads"
        )
    path = parts.path.rstrip("/")
    if not parts.netloc or any(piece in ("", ".", "..") for piece in path.split("/")[1:]):
        raise InvalidArgumentError(
            f"{shown!r} must be SCHEME://HOST/PATH without empty parts or dots"
        )
    return parts.scheme.lower(), parts.netloc, path


def path_of(url: str) -> str:
    """The path of a URL as obstore takes it."""
    parts = urlsplit(url)
    # obstore encodes it anew; keys of buckets are never encoded.
    return (unquote(parts.path) if parts.scheme.startswith("http") else parts.path).lstrip("/")


def without_secrets(text: str, *, markdown: bool = False) -> str:
    """The text with REDACTED for users, passwords, queries and fragments of its URLs.

    They may hold credentials, which stay out of what is written. In Markdown fragments stay.
    """
    query = _QUERY_IN_MARKDOWN if markdown else _QUERY
    return query.sub(rf"\1?{REDACTED}", _USER.sub(rf"\1{REDACTED}@", text))
