"""Which weights an encoder had: a digest of their values, and a stamp of their files.

The digest tells rows of one checkpoint from rows of another of the same name. It needs the loaded
model; the stamp of local files tells without loading that they are as they were.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from helip.common.errors import Error
from helip.common.files import storage_errors
from helip.encoders.loading import existing_path
from helip.encoders.spec import parse_spec


def files_stamp(encoder: Any) -> str:
    """Of the weights file or the directory that a spec names: its files with their sizes and times
    of change, digested. Empty for an encoder object and for a name that is no local path."""
    if not isinstance(encoder, str):
        return ""
    try:
        spec = parse_spec(encoder)
        place = existing_path(spec.path or spec.name)
    except Error:
        return ""  # an object's own name, or what loading will say better
    # A bare name is a model of a library, also where the working directory holds such a folder.
    if place is None or (spec.path is None and "/" not in spec.name):
        return ""
    with storage_errors("read", place):
        files = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place]
        listed = [_line(file, place) for file in files]
    return hashlib.sha256("\n".join(listed).encode("utf-8", "surrogateescape")).hexdigest()


def _line(file: Path, place: Path) -> str:
    found = file.stat()
    return f"{file.relative_to(place)} {found.st_size} {found.st_mtime_ns}"


def weights_of(encoder: Any) -> dict[str, str] | None:
    """What a store's metadata keeps of a loaded encoder's weights; None where nothing is known."""
    digest = getattr(encoder, "weights", "")
    return {"digest": digest, "files": getattr(encoder, "files", "")} if digest else None
