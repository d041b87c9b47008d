"""URLs of shards: which are taken, and their parts."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from helip.common.errors import InvalidArgumentError, UnsupportedError

SCHEMES = ("http", "https", "s3", "gs", "az")


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
    if parts.scheme.lower() not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise UnsupportedError(f"{url!r} is neither a local path nor a URL of {known}")
    if "@" in parts.netloc:
        raise InvalidArgumentError(
            f"a URL at {parts.hostname} has credentials in it, which would be kept in the index; "
            "give them by the environment variables that obstore reads"
        )
    if parts.query or parts.fragment:
        raise UnsupportedError(
            f"{url!r} has a query or a fragment, and ranges are read of plain paths alone; serve "
            "the shards at such paths, or give credentials by the variables that obstore reads"
        )
    path = parts.path.rstrip("/")
    if not parts.netloc or any(piece in ("", ".", "..") for piece in path.split("/")[1:]):
        raise InvalidArgumentError(
            f"{url!r} must be SCHEME://HOST/PATH without empty parts or dots"
        )
    return parts.scheme.lower(), parts.netloc, path


def path_of(url: str) -> str:
    """The path of a URL as obstore takes it."""
    parts = urlsplit(url)
    # obstore encodes it anew; keys of buckets are never encoded.
    return (unquote(parts.path) if parts.scheme.startswith("http") else parts.path).lstrip("/")
