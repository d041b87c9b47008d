"""Results whose place is a URL: written on this machine, uploaded, and kept in the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.files import (
    DirectoryLock,
    discard_directory,
    make_directory,
    own_cache,
    storage_errors,
)
from helip.common.remote.container import RemoteContainer
from helip.common.remote.downloading import cache_folder, cached, hold
from helip.common.remote.manifest import MANIFEST, digest_of, parse_manifest
from helip.common.remote.uploading import has_container, taken, upload
from helip.common.remote.urls import local_path, url_of

T = TypeVar("T")


def save_at(path: str | os.PathLike[str], save: Callable[[str], object]) -> None:
    """Have ``save`` write a new directory, or one that goes to a URL of s3, gs or az."""
    if (url := url_of(path)) is not None:
        written_to(url, save, os.fspath)
    else:
        save(os.fspath(local_path(path)))


def written_to(
    url: str,
    work: Callable[[str], object],
    opened: Callable[[str], T],
    *,
    answers: bool = False,
    resumes: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> T:
    """Have ``work`` write to a directory of this machine, upload it to ``url``, and open it there.

    The directory lies in ``scratch`` of HELIP_CACHE until it is uploaded. A job that was stopped
    finds there what it had written, and an upload that was stopped goes on. Then it becomes the
    copy in the cache that whoever opens the URL would download.

    Args:
        work: writes to a directory. It is called again for one that it has written already.
        opened: opens that directory.
        answers: ``work`` knows a finished result, and tells whether it is the answer: where one is
            at the URL already, it is asked of the copy in the cache, and must not change it.
        resumes: ``work`` goes on with what it left in the directory, which else begins empty.

    Raises InvalidArgumentError where something is there that may not be replaced, and as `upload`.
    """
    if not overwrite and has_container(url):
        if not answers:
            raise InvalidArgumentError(taken(url))
        folder = os.fspath(cached(RemoteContainer(url), None, progress=progress))
        try:
            work(folder)
        except (InvalidArgumentError, MismatchError) as error:
            raise type(error)(str(error).replace(folder, url)) from error
        return opened(folder)
    place = scratch_of(url)
    make_directory(place.parent)
    with DirectoryLock(place.parent):
        if not resumes and place.exists():
            discard_directory(place)
        work(os.fspath(place))
        upload(place, url, overwrite=overwrite, progress=progress)
        return opened(os.fspath(_kept(place)))


def scratch_of(url: str) -> Path:
    """Where a job writes what goes to ``url``; there it may have left something."""
    name = url.rstrip("/").rpartition("/")[2]
    return own_cache() / "scratch" / digest_of(url.encode())[:16] / name


def _kept(place: Path) -> Path:
    """The directory as a copy in the cache; what else lies beside it goes, but for the lock.

    Another job may have opened the lock and wait for it. If the file were deleted, that job would
    lock what a third one no longer finds, and both would write.
    """
    with storage_errors("read", place):
        text = (place / MANIFEST).read_bytes()
    target = cache_folder(None) / f"{place.name}-{parse_manifest(text, str(place)).checksum}"
    make_directory(target.parent)
    with storage_errors("write", target):
        if target.exists():
            shutil.rmtree(place)
        else:
            place.rename(target)
        for other in place.parent.iterdir():
            if other.name == "lock":
                continue
            if other.is_dir() and not other.is_symlink():
                shutil.rmtree(other)
            else:
                other.unlink()
    hold(target)
    return target
