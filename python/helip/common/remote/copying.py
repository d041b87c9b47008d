"""Copying what helip wrote: between this machine and object storage, and from URL to URL."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from helip.common.errors import InvalidArgumentError
from helip.common.options import Options, ProgressOptions, keywords
from helip.common.remote.container import RemoteContainer
from helip.common.remote.downloading import download, refuse_existing
from helip.common.remote.uploading import upload
from helip.common.remote.urls import local_path, url_of


@dataclass(frozen=True, kw_only=True)
class CopyOptions(Options):
    """How a copy is made."""

    overwrite: bool = False
    """Take the place of what is there."""


@dataclass(frozen=True, kw_only=True)
class CopyCall(CopyOptions, ProgressOptions):
    """What `copy` is asked."""

    source: str | os.PathLike[str] = field(kw_only=False)
    """An embedding store, a table of hard pairs, a part of one or an index of pairs: a directory or
    a URL of s3, gs, az, http or https."""
    target: str | os.PathLike[str] = field(kw_only=False)
    """Where it goes: a directory, or a URL of s3, gs or az."""


@keywords(CopyCall)
def copy(call: CopyCall) -> str:
    """Copies a store, a table, a part or an index of pairs to object storage or from it.

    Every byte is compared with the checksums of the manifest on its way, and the manifest comes
    last: who reads the target finds all of it or nothing. The same call goes on with what a stopped
    one has copied, shard by shard. Memory stays below some 200 MiB. Of other files only
    ``quarantine.jsonl``, ``helip.yaml`` and a table's ``kept-sample.safetensors`` go along. Returns
    the target.

    From a URL to another all bytes go through this machine, and none of them through its disk.

    Raises:
        InvalidArgumentError: something else is at the target. CorruptError: the source is damaged.
        StorageError: the disk has too little room, with both numbers; one of both cannot be read
            or written, with the reason. MismatchError: the source was changed meanwhile.
        UnsupportedError: a URL that nothing can be written to; obstore or xxhash is absent.
    """
    for name in ("source", "target"):
        value = getattr(call, name)
        if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
            raise InvalidArgumentError(f"{name} is {value!r}, must be a path or a URL")
    source, target = url_of(call.source), url_of(call.target)
    if target is not None:
        upload(
            source or Path(local_path(call.source)),
            target,
            overwrite=call.overwrite,
            progress=call.progress,
        )
        return target
    place = Path(local_path(call.target))
    if not call.overwrite:
        refuse_existing(place)
    container = RemoteContainer(source or os.fspath(local_path(call.source)))
    download(container, place, overwrite=call.overwrite, progress=call.progress)
    return os.fspath(place)
