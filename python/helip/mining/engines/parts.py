"""Mining in parts: ranges of targets, each a work unit whose result is a directory of its own.

A part is solved against all rows, by any process that can read the store, and lies there whole or
not at all. So it serves three ends: a job on one machine that goes on after a kill (``parts=n``),
jobs of any scheduler (``part=(i, n)``, then :func:`merge`), and Ray (``engine="ray"``).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from helip import _core
from helip.common.errors import (
    Error,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from helip.common.files import output_path, read_json, storage_errors
from helip.common.parts import checked_part, parts_folder, shares_folder
from helip.common.patterns import expand_braces
from helip.common.progress import Follower, ProgressBar
from helip.common.remote.client import Remote
from helip.common.remote.container import RemoteContainer
from helip.common.remote.downloading import cached
from helip.common.remote.manifest import MANIFEST, NEGATIVES, PART
from helip.common.remote.outputs import written_to
from helip.common.remote.urls import BUCKETS, check_url, local_path, place_of, url_of
from helip.mining.call import MineJob
from helip.mining.engines.checkpoints import checkpoint_folder, has_checkpoint
from helip.mining.inputs import core_options
from helip.pairs.hard_negatives import HardNegatives
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.hard_pairs_part import HardPairsPart

METHODS = ("auto", "exact", "sample")

# A job of more rows than this, and of more seconds, is committed in parts without being asked to.
_WHOLE_ROWS = 300_000
_WHOLE_SECONDS = 3600.0
_PART_SECONDS = 1800.0
_MOST_PARTS = 10_000
_IN_FLIGHT = 16  # manifests of parts at URLs
_SHOWN = 8  # missing parts that are named


class OnePart:
    """One part of a job, for any scheduler."""

    def is_asked(self, job: MineJob) -> bool:
        return job.call.part is not None

    def accepts(self, job: MineJob) -> Error | None:
        call, out = job.call, job.path
        for name, value in (("parts", call.parts), ("engine", call.engine)):
            if value not in (None, "threads"):
                return InvalidArgumentError(
                    f"part is {call.part}, one part of a job, and {name} is {value!r}, for a whole "
                    f"one; drop {name}="
                )
        checked_part(call.part)
        if job.store is None:
            return InvalidArgumentError(
                "part needs a store: bare arrays have no fingerprint by which parts could be told "
                "apart"
            )
        if not out:
            return InvalidArgumentError("part needs a directory to write the part to; give out")
        if call.device not in ("auto", "cpu"):
            return UnsupportedError(
                f'device is {call.device!r}; parts are mined on the CPU, device="cpu"'
            )
        if not call.resume and is_done(Path(out)):
            return InvalidArgumentError(
                f"{out} already holds a part; remove it or choose another path"
            )
        return None

    def run(self, job: MineJob) -> HardPairsPart:
        call = job.call
        assert job.store is not None and call.part is not None
        with ProgressBar(None, label="mine", unit="targets", enabled=call.progress) as bar:
            follow, options = Follower(bar, call.on_progress), core_options(call, call)
            core = _core.mine_part(job.store._core, *call.part, options, job.path, follow)
        return HardPairsPart(core)


def merge(
    parts: Iterable[str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> HardPairs:
    """The table of all parts of a job, byte for byte the one that a single run gives.

    Args:
        parts: the directories that ``helip.mine(part=(i, n), out=...)`` wrote, all n in any order,
            or the folder that holds them. Also URLs: of parts, with braces for several, such as
            ``s3://bucket/parts/part-{1..16}``, or of a folder in a bucket; parts there are
            downloaded to the cache. They are read one after another, every byte is checked, and
            they stay.
        out: the table to write, a directory or a URL of s3, gs or az; None keeps it in memory.
        progress: a bar on a terminal.

    Raises:
        MismatchError: parts of different jobs, with the option or fingerprint that differs.
        InvalidArgumentError: a part is absent (with its targets or its URL) or given twice, or
            ``out`` is there already. CorruptError: a part is damaged. StorageError: the disk or a
            service refuses. UnsupportedError: a folder at a URL that cannot be listed.
    """
    given: Sequence[str | os.PathLike[str]]
    given = [parts] if isinstance(parts, (str, os.PathLike)) else list(parts)
    if isinstance(parts, (str, os.PathLike)) and url_of(parts) is None:
        path = os.fspath(local_path(parts))
        if _parts_in(path) == [path]:
            raise InvalidArgumentError(
                f"parts is the one path {path!r}; pass a list of all parts of the job, or the "
                "folder that holds them"
            )
    if (url := url_of(out)) is not None:
        return written_to(
            url, lambda path: _merged(given, path, progress), _opened_table, progress=progress
        )
    return _merged(given, output_path(out), progress)


def _merged(parts: Sequence[str | os.PathLike[str]], out: str, progress: bool) -> HardPairs:
    urls = [url for part in parts if (url := url_of(part)) is not None]
    paths = [path for part in parts if url_of(part) is None for path in _parts_in(local_path(part))]
    if urls:
        paths += _parts_at(urls, whole=not paths, progress=progress)
    # What is none is refused by the core.
    of_queries = bool(paths) and is_done(Path(paths[0])) and _is_of_queries(paths[0])
    with ProgressBar(None, label="merge", unit="targets", enabled=progress) as bar:
        if of_queries:
            return HardNegatives(_core.merge_negatives_parts(paths, out, Follower(bar)))
        return HardPairs(_core.merge_parts(paths, out, Follower(bar)))


def _opened_table(path: str) -> HardPairs:
    of_queries = read_json(Path(path) / MANIFEST).get("format") == NEGATIVES
    return HardNegatives.open(path) if of_queries else HardPairs.open(path)


def _is_of_queries(path: str) -> bool:
    return _core.HardPairsPart.open(path).corpus_rows >= 0


def _parts_in(path: str | os.PathLike[str]) -> list[str]:
    """The parts that lie in a folder, by name; a part itself, and what is none, stays as it is."""
    path = os.fspath(path)
    if not os.path.isdir(path) or is_done(Path(path)):
        return [path]
    with storage_errors("read", path):
        entries = sorted(os.path.join(path, name) for name in os.listdir(path))
    return [entry for entry in entries if is_done(Path(entry))] or [path]


def _parts_at(urls: Iterable[str], *, whole: bool, progress: bool) -> list[str]:
    """The directories of the cache that hold the parts at ``urls``, or in folders of buckets there.

    Manifests are read first, and nothing is downloaded where a part is missing.

    Raises:
        InvalidArgumentError: parts are missing, with their numbers or URLs; ``whole``: all of their
            job must be among them. UnsupportedError: a folder that cannot be listed. StorageError,
            CorruptError, MismatchError as `cached`.
    """
    named = list(dict.fromkeys(url for each in urls for url in expand_braces(each)))
    found: list[RemoteContainer] = []
    missing = []
    for url, part in _opened(named):
        parts = _parts_in_bucket(url, alone=len(named) == 1) if part is None else [part]
        found += parts
        missing += [] if parts else [url]
    places = [part.manifest.attributes["part"] for part in found]
    counts = {place["count"] for place in places}
    if whole and len(counts) == 1 and not missing:  # of several jobs merging tells
        (count,) = counts
        there = {place["index"] for place in places}
        folder = found[0].url.rpartition("/")[0]
        missing = [f"{i} in {folder}" for i in range(1, count + 1) if i not in there]
    if missing:
        more = ", …" if len(missing) > _SHOWN else ""
        of = f"of {next(iter(counts)):,} parts these" if len(counts) == 1 else "these parts"
        raise InvalidArgumentError(
            f"{of} are missing: {', '.join(missing[:_SHOWN])}{more}; mine them with part = (i, n), "
            "and merge again"
        )
    return [os.fspath(cached(part, None, progress=progress)) for part in found]


def _parts_in_bucket(url: str, *, alone: bool) -> list[RemoteContainer]:
    """The parts below a URL where none is; where it is given ``alone``, there must be some."""
    if (scheme := check_url(url)[0]) not in BUCKETS:
        if not alone:
            return []
        raise UnsupportedError(
            f"no part is at {url}, and folders at {scheme}:// are not listed; name its parts, such "
            f"as {url}/part-{{1..8}}"
        )
    listed = Remote(place_of([url])).folders(url)
    found = [part for _, part in _opened([f"{url}/{name}" for name in listed]) if part is not None]
    if not found and alone:
        raise InvalidArgumentError(
            f"no part is at {url}, and none is below it; name the folder that holds the parts, or "
            f"the parts, such as {url}/part-{{1..8}}"
        )
    return found


def _opened(urls: Sequence[str]) -> list[tuple[str, RemoteContainer | None]]:
    """Each URL with the part that is there, None where nothing is."""
    with ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="helip-parts") as pool:
        return list(zip(urls, pool.map(_opened_part, urls), strict=True))


def _opened_part(url: str) -> RemoteContainer | None:
    try:
        return RemoteContainer(url, (PART,))
    except StorageError as error:
        if error.errno != errno.ENOENT or "no such bucket" in str(error):
            raise
        return None


def _parts_there(out: str | os.PathLike[str]) -> Iterator[tuple[Path, int]]:
    """Directory and number of parts of each that has been begun, in order of their names."""
    folder = parts_folder(out)
    if folder.is_dir():
        with storage_errors("read", folder):
            entries = sorted(folder.iterdir())
        for entry in entries:
            if match := re.fullmatch(r"part-[0-9]{5,}-of-([0-9]{5,})", entry.name):
                yield entry, int(match[1])


def remove_parts(out: str | os.PathLike[str]) -> None:
    """Remove what a job left that was killed between its commit and its tidying up."""
    for path, _ in list(_parts_there(out)):
        shutil.rmtree(path, ignore_errors=True)
    folder = parts_folder(out)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    shutil.rmtree(shares_folder(out), ignore_errors=True)


def begun_parts(out: str | os.PathLike[str]) -> int | None:
    """The number of parts of the job that was begun for ``out``; None where there is none."""
    return next((count for path, count in _parts_there(out) if is_done(path)), None)


def done_parts(out: str | os.PathLike[str]) -> int:
    """How many of them are done."""
    return sum(is_done(path) for path, _ in _parts_there(out))


def is_done(part: Path) -> bool:
    """Whether a part lies in that directory; it does whole, or not at all."""
    return os.path.exists(part / "manifest.json")  # False where the path itself is bad


def why_not_parts(parts: int | None, *, method: str, of_store: bool) -> Error | None:
    """Why a job cannot be committed in parts; as the core says it."""
    if parts in (None, 1):
        return None
    if not of_store:
        return InvalidArgumentError(
            f"parts is {parts}; bare arrays have no fingerprint by which parts could be told "
            "apart, so mine a store, or use parts = 1"
        )
    if method not in METHODS:
        return UnsupportedError(
            f"method is '{method}', which works on all rows at once; parts are there for 'exact' "
            "and 'sample'"
        )
    return None


def agreed_parts(parts: int | None, *, out: str, method: str) -> int | None:
    """The number of parts that is asked for or was begun with; None where nobody has said it."""
    if out and (parts or 1) > 1 and has_checkpoint(out):
        raise MismatchError(
            f"{checkpoint_folder(out)} was left by an interrupted job in one part, now "
            f"parts={parts}; go on without parts=, or remove that folder"
        )
    begun = begun_parts(out) if out else None
    if begun is not None and (method not in METHODS or parts not in (None, begun)):
        now = f"method {method!r}" if method not in METHODS else f"parts={parts}"
        raise MismatchError(
            f"{parts_folder(out)} holds a job in {begun} parts, now {now}; go on with "
            f"parts={begun}, or remove that folder"
        )
    return parts or begun


def number_of_parts(
    parts: int | None,
    *,
    out: str,
    method: str,
    rows: int,
    estimate: Callable[[], dict[str, Any]],
) -> int:
    """How many parts to commit a job in: as agreed, or by what it is going to take.

    Args:
        estimate: gives ``method``, ``seconds`` and ``bands`` of the plan; called for large jobs.
    """
    if agreed := agreed_parts(parts, out=out, method=method):
        return agreed
    if not out or has_checkpoint(out):
        return 1
    return usual_parts(method, rows, estimate)


def usual_parts(method: str, rows: int, estimate: Callable[[], dict[str, Any]]) -> int:
    """How many parts a job of a store is committed in where nobody has said it."""
    if rows <= _WHOLE_ROWS or method not in METHODS:
        return 1
    plan = estimate()
    if plan["method"] not in METHODS or plan["seconds"] < _WHOLE_SECONDS:
        return 1
    return min(max(plan["bands"], round(plan["seconds"] / _PART_SECONDS)), _MOST_PARTS)
