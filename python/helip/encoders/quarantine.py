"""The list of samples that could not be embedded: ``quarantine.jsonl`` beside a store's files.

One JSON object a line, in row order: ``{"row": int, "key": str, "reason": str, "message": str}``.
The list is durable before the commit that covers it. What a killed job wrote after its last commit
is dropped when the job goes on, so that no sample is listed twice.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from helip.common.errors import CorruptError, StorageError
from helip.common.files import DirectoryLock, replace_file, storage_errors, sync

_NAME = "quarantine.jsonl"
_FIRST = 3  # samples that a message about the share quotes


class Quarantine:
    """The list of one store, open for appending by the job that owns the store's directory.

    ``committed_rows`` and ``counts`` are what the store's last commit says. Raises CorruptError
    when the list does not agree with them, StorageError when it cannot be read or written.
    """

    def __init__(self, directory: Path, *, committed_rows: int, counts: Mapping[str, int]) -> None:
        self.path = directory / _NAME
        self.first: list[str] = []
        self.message = ""  # of the first
        self._counts: dict[str, int] = {}
        self._file: IO[bytes] | None = None
        with storage_errors("read", self.path):
            self._keep(committed_rows)
        if self._counts != dict(counts):
            raise _disagree(self.path, self._counts, counts)

    @property
    def counts(self) -> dict[str, int]:
        """Samples a reason, ordered by reason."""
        return dict(sorted(self._counts.items()))

    @property
    def total(self) -> int:
        """Samples listed."""
        return sum(self._counts.values())

    def add(self, row: int, key: str, reason: str, message: str) -> None:
        """List one sample; durable after the next sync()."""
        # Escaped to ASCII: messages quote file names, which need not be valid text.
        line = json.dumps({"row": row, "key": key, "reason": reason, "message": message})
        with storage_errors("write", self.path):
            if self._file is None:
                self._file = self.path.open("ab")
            self._file.write(line.encode("ascii") + b"\n")
        self._count(row, key, reason, message)

    def sync(self) -> None:
        """Make every listed sample durable."""
        if self._file is None:
            return
        with storage_errors("write", self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            sync(self.path.parent)

    def go_back(self, rows: int) -> None:
        """Drop what was listed of row ``rows`` and those behind it."""
        with storage_errors("write", self.path):
            self._close()
            self.first.clear()
            self.message = ""
            self._counts.clear()
            self._keep(rows)

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file; lines since the last sync() may be lost in a power cut."""
        with storage_errors("write", self.path):
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _count(self, row: int, key: str, reason: str, message: str) -> None:
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self.message = self.message or message
        if len(self.first) < _FIRST:
            self.first.append(f"row {row} ({key!r}): {reason}")

    def _keep(self, committed_rows: int) -> None:
        """Drop what lies behind the last commit, a line torn by the kill included."""
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        kept = 0  # bytes
        for line in content.splitlines(keepends=True):
            try:
                entry = json.loads(line)
                row, key, reason = int(entry["row"]), str(entry["key"]), str(entry["reason"])
                message = str(entry.get("message", ""))
            except (ValueError, KeyError, TypeError):
                break  # torn; were it a committed line, the counts would not agree
            if row >= committed_rows or not line.endswith(b"\n"):
                break
            kept += len(line)
            self._count(row, key, reason, message)
        if not kept:
            self.path.unlink()
            sync(self.path.parent)
        elif kept < len(content):
            os.truncate(self.path, kept)
            sync(self.path)


def entries_of(directory: Path) -> list[dict[str, Any]]:
    """What a finished list says, in row order; nothing where there is none."""
    return _entries(directory / _NAME)


def _entries(path: Path) -> list[dict[str, Any]]:
    with storage_errors("read", path):
        lines = path.read_bytes().splitlines() if path.exists() else ()
    return [json.loads(line) for line in lines]


def _counts_of(entries: list[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(entry["reason"] for entry in entries))


def checked_entries(directory: Path, counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """The list of a finished store; CorruptError where its metadata counts others."""
    entries = entries_of(directory)
    if _counts_of(entries) != dict(counts):
        raise _disagree(directory / _NAME, _counts_of(entries), counts)
    return entries


def _disagree(path: Path, listed: Mapping[str, int], counts: Mapping[str, int]) -> CorruptError:
    return CorruptError(
        f"{path} lists {dict(listed)} and the store's metadata counts {dict(counts)}: one of them "
        "was edited or lost; restore it, or embed anew into another directory"
    )


def stage_list(folder: Path, entries: list[dict[str, Any]], *, of: str) -> None:
    """Keep the list of a store that is about to be put together, durably, in another folder.

    ``of``: the fingerprint of the data that the store is going to be of.
    """
    listed = sorted(entries, key=lambda entry: entry["row"])
    replace_file(_staged(folder, of), "".join(json.dumps(entry) + "\n" for entry in listed))


def _staged(folder: Path, of: str) -> Path:
    return folder / f"quarantine-{of}.jsonl"


def take_staged_list(folder: Path, directory: Path, *, of: str, counts: Mapping[str, int]) -> bool:
    """Give a store the list that stage_list() kept; False where none is kept for this store.

    ``counts``: what the store's metadata counts; another list is that of a store that was never
    put together.
    """
    staged, path = _staged(folder, of), directory / _NAME
    if not staged.exists() or _counts_of(_entries(staged)) != dict(counts):
        return False
    with storage_errors("move", staged):
        if staged.stat().st_size:
            os.replace(staged, path)
        else:  # no sample failed, and a list without entries is not kept
            path.unlink(missing_ok=True)
            staged.unlink()
        sync(directory)
        sync(folder)
    return True


def discard_orphan(directory: Path) -> None:
    """Delete the list of a job that ended before its first commit, which no store refers to.

    Call it where there is no store; a new one is only made in a directory without foreign files.
    A list whose job is still at work is left alone.
    """
    path = directory / _NAME
    if not path.exists() or (directory / "manifest.json").exists():
        return
    # The lock that a store's writer holds from its first moment on; where it is taken, creating
    # the store will say who is at work.
    with contextlib.suppress(StorageError), DirectoryLock(directory, name=".lock"):
        path.unlink(missing_ok=True)
