"""Parts of a job at URLs, found by their names.

What a bucket lists may lag behind what was written to it. So a list is asked for one thing alone:
how parts are named. Any one of them tells, as its name has its number i, and its manifest i and n.
All others are asked for by name.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from helip.common.errors import InvalidArgumentError, StorageError, UnsupportedError
from helip.common.patterns import expand_braces
from helip.common.remote.client import Remote
from helip.common.remote.container import RemoteContainer
from helip.common.remote.downloading import cached
from helip.common.remote.manifest import PART
from helip.common.remote.urls import BUCKETS, check_url, place_of

_IN_FLIGHT = 16  # manifests
_SHOWN = 8  # missing parts that are named


class _Naming(NamedTuple):
    """How the names of parts follow from their numbers."""

    before: str
    width: int  # digits of a number at the least
    after: str

    def of(self, index: int) -> str:
        return f"{self.before}{index:0{self.width}}{self.after}"


@dataclass(frozen=True)
class _Part:
    container: RemoteContainer
    index: int
    count: int


def parts_at(urls: Iterable[str], *, whole: bool, progress: bool) -> list[str]:
    """The directories of the cache that hold the parts at ``urls``.

    Manifests are read first, and nothing is downloaded where a part is missing.

    Args:
        urls: of parts, with braces for several, and of folders in buckets that hold parts.
        whole: all parts of their job must be among them.

    Raises:
        InvalidArgumentError: parts are missing, with their numbers and URLs.
        UnsupportedError: a folder that cannot be listed. StorageError, CorruptError, MismatchError
            as `cached`.
    """
    named = {url: None for each in urls for url in expand_braces(each)}
    found, absent = _parts_of(named)
    missing: list[str] = []
    for url in absent:
        folder, lacking = _parts_in_folder(url, given=len(named))
        found += folder
        missing += lacking
    counts = {part.count for part in found}
    if whole and len(counts) == 1 and not missing:
        (count,) = counts
        there = {part.index for part in found}
        naming = next(iter(_namings(found)), None)
        missing = [
            _words(index, found[0].container.url.rpartition("/")[0], naming)
            for index in range(1, count + 1)
            if index not in there
        ]
    if missing:
        more = ", …" if len(missing) > _SHOWN else ""
        of = f"of {next(iter(counts)):,} parts these" if len(counts) == 1 else "these parts"
        raise InvalidArgumentError(
            f"{of} are missing: {', '.join(missing[:_SHOWN])}{more}; mine them with part = (i, n), "
            "and merge again"
        )
    return [os.fspath(cached(part.container, None, progress=progress)) for part in found]


def _parts_in_folder(url: str, *, given: int) -> tuple[list[_Part], list[str]]:
    """The parts below a URL where none is, and those missing there, in words."""
    if (scheme := check_url(url)[0]) not in BUCKETS:
        if given > 1:
            return [], [url]
        raise UnsupportedError(
            f"no part is at {url}, and folders at {scheme}:// are not listed; name its parts, such "
            f"as {url}/part-{{1..8}}"
        )
    listed = Remote(place_of([url])).folders(url)
    found, _ = _parts_of(f"{url}/{name}" for name in listed)
    counts = {part.count for part in found}
    if not found and given > 1:
        return [], [url]
    if not found:
        raise InvalidArgumentError(
            f"no part is at {url}, and none is listed below it; where its lists lag, name the "
            f"parts, such as {url}/part-{{1..8}}"
        )
    if len(counts) > 1:
        return found, []  # of several jobs, which merging tells apart
    (count,) = counts
    namings = _namings(found)
    there = {part.index for part in found}
    lacking = [index for index in range(1, count + 1) if index not in there]
    more, _ = _parts_of(f"{url}/{each.of(index)}" for index in lacking for each in namings)
    found += (part for part in more if part.index not in there)
    there |= {part.index for part in more}
    naming = next(iter(namings), None)
    return found, [_words(index, url, naming) for index in lacking if index not in there]


def _parts_of(urls: Iterable[str]) -> tuple[list[_Part], list[str]]:
    """The parts at URLs, and the URLs where nothing is."""
    urls = list(urls)
    with ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="helip-parts") as pool:
        opened = list(pool.map(_part_at, urls))
    absent = [url for url, part in zip(urls, opened, strict=True) if part is None]
    return [part for part in opened if part is not None], absent


def _part_at(url: str) -> _Part | None:
    try:
        container = RemoteContainer(url, (PART,))
    except StorageError as error:
        if error.errno != errno.ENOENT or "no such bucket" in str(error):
            raise
        return None
    place = container.manifest.attributes["part"]
    return _Part(container, place["index"], place["count"])


def _namings(parts: list[_Part]) -> list[_Naming]:
    """The ways of naming by which all parts have their names."""
    names = {part.container.url.rpartition("/")[2]: part.index for part in parts}
    if not names:
        return []
    (first, index), *_ = names.items()
    return [
        each
        for each in dict.fromkeys(_namings_of(first, index))
        if all(each.of(number) == name for name, number in names.items())
    ]


def _namings_of(name: str, index: int) -> Iterator[_Naming]:
    for number in re.finditer(r"[0-9]+", name):
        if int(number[0]) == index:
            begin, end = number.span()
            yield _Naming(name[:begin], len(number[0]), name[end:])
            yield _Naming(name[:begin], 1, name[end:])


def _words(index: int, folder: str, naming: _Naming | None) -> str:
    return f"{index} in {folder}" if naming is None else f"{index} at {folder}/{naming.of(index)}"
