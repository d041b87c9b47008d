"""A folder of arrays in ``.npy`` files, with a manifest that has their sizes and checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import CorruptError, InvalidArgumentError, UnsupportedError
from helip.common.files import read_json, sha256_of, storage_errors, write_json
from helip.common.remote.urls import shown, url_of

_HEADER = 128  # bytes of the header of an array file
_ABOUT = ("format", "version", "digest")  # of a manifest; the rest are its contents


class ArrayFile(contextlib.AbstractContextManager["ArrayFile"]):
    """An array of one dimension that is written to a ``.npy`` file piece by piece."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self._dtype, self._size = np.dtype(dtype), 0
        self._file = path.open("wb")
        self._file.write(bytes(_HEADER))

    def add(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, dtype=self._dtype).data)
        self._size += len(values)

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.seek(0)
            np.lib.format.write_array_header_1_0(
                self._file,
                {"descr": self._dtype.str, "fortran_order": False, "shape": (self._size,)},
            )
            assert self._file.tell() == _HEADER


def files_of(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Size and checksum of each, by its name: the ``files`` of a manifest."""
    return {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in paths}


class ArrayFolder:
    """A folder that was opened: its manifest is whole, and its files have their sizes.

    ``contents`` is what the manifest says beside ``format``, ``version`` and ``digest``; its
    ``files`` are those of `files_of`.
    """

    def __init__(self, path: Path, contents: dict[str, Any], digest: str, again: str) -> None:
        self.path, self.contents, self.digest, self._again = path, contents, digest, again

    @staticmethod
    def finish(folder: Path, form: str, version: int, contents: Mapping[str, Any]) -> None:
        """Writes the manifest, last."""
        about = dict(zip(_ABOUT, (form, version, _digest(contents)), strict=True))
        write_json(folder / "manifest.json", {**about, **contents})

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, form: str, version: int, what: str, again: str
    ) -> ArrayFolder:
        """Opens what `finish` finished.

        what: such as "a plan of batches"; again: how it is made anew, such as "plan again".

        Raises:
            StorageError: nothing there. CorruptError: a file is cut short, missing or changed.
            InvalidArgumentError: another format. UnsupportedError: it is newer, or at a URL.
        """
        if url_of(path) is not None:
            raise UnsupportedError(
                f"{shown(path)} is a URL, and {what} is read from a directory; copy it here first"
            )
        path = Path(path)
        manifest = read_json(path / "manifest.json")
        if manifest.get("format") != form:
            raise InvalidArgumentError(
                f"{path} is not {what} but a {manifest.get('format', 'folder')}; give another "
                f"path, or {again}"
            )
        if manifest.get("version") != version:
            raise UnsupportedError(
                f"{path} is {what} of version {manifest.get('version')}, this helip reads "
                f"{version}; {again}, or open it with a newer helip"
            )
        contents = {name: value for name, value in manifest.items() if name not in _ABOUT}
        folder = cls(path, contents, str(manifest.get("digest")), again)
        if folder.digest != _digest(contents):
            raise CorruptError(f"{path}/manifest.json was changed; copy it again, or {again}")
        try:
            sizes = {name: int(column["bytes"]) for name, column in contents["files"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise folder.damaged(error) from error
        for name, size in sizes.items():
            folder._check_size(name, size)
        return folder

    def damaged(self, error: Exception) -> CorruptError:
        """The error of a manifest that lacks what it must have."""
        return CorruptError(
            f"{self.path}/manifest.json is damaged ({type(error).__name__}: {error}); {self._again}"
        )

    def array(self, name: str) -> np.ndarray:
        """The array of a file, mapped."""
        path = self.path / name
        with storage_errors("read", path):
            try:
                found: np.ndarray = np.load(path, mmap_mode="r")
            except (ValueError, EOFError) as error:
                raise CorruptError(f"{path} is damaged ({error}); {self._again}") from error
        return found

    def verify(self) -> None:
        """Reads every byte; CorruptError where a file differs from its checksum."""
        for name, column in self.contents["files"].items():
            with storage_errors("read", self.path / name):
                same = sha256_of(self.path / name) == column["sha256"]
            if not same:
                raise CorruptError(f"{self.path / name} is damaged; {self._again}")

    def _check_size(self, name: str, expected: int) -> None:
        path = self.path / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise CorruptError(f"{path} is missing; {self._again}") from None
        if size != expected:
            raise CorruptError(
                f"{path} has {size:,} bytes in place of {expected:,}; copy it again, or "
                f"{self._again}"
            )


def _digest(contents: Mapping[str, Any]) -> str:
    """Of all that the manifest says, and so of the checksums of all files."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
