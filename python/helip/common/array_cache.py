"""Arrays that are made once and kept: a bounded folder of folders, named by what they are of."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import Error
from helip.common.files import make_directory, own_cache, storage_errors

_LOG = logging.getLogger(__name__)
_in_use: set[Path] = set()  # by this process
_VERSION = 1  # of what is kept; another version makes it anew


class ArrayCache:
    """Arrays and databases by name, kept in ``$HELIP_CACHE/view``.

    Whatever is damaged, absent or of another version is made anew. Folders that were used longest
    ago go once all together are larger than ``bound`` bytes. Where nothing can be kept, as on a
    full disk, everything still works, and is made again the next time.
    """

    def __init__(self, identity: Mapping[str, Any], bound: int, folder: Path | None = None) -> None:
        self._home = own_cache() / "view" if folder is None else folder
        self._bound = bound
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        text = json.dumps({"version": _VERSION, **identity}, sort_keys=True)
        self.folder = self._home / hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        try:
            make_directory(self.folder)
            os.utime(self.folder)
            _in_use.add(self.folder)
        except (Error, OSError) as error:
            _LOG.warning("nothing is kept between calls: %s", error)
            self._temporary = tempfile.TemporaryDirectory(prefix="helip-view-")
            self.folder = Path(self._temporary.name)

    def arrays(
        self, name: str, make: Callable[[], Mapping[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """The arrays that ``make`` returns, mapped from the folder where they are there already."""
        place = self.folder / name
        if (found := _read(place)) is not None:
            return found
        made = dict(make())
        try:
            _write(place, made)
            self.trim()
        except (Error, OSError) as error:
            _LOG.warning("%s is not kept: %s", name, error)
            return made
        return _read(place) or made

    def trim(self) -> None:
        """Remove the folders that were used longest ago, down to the bound; never one in use
        by this process."""
        if self._temporary is not None:
            return
        sizes = {}
        for entry in self._home.iterdir():
            if entry.is_dir():
                with contextlib.suppress(OSError):
                    sizes[entry] = (entry.stat().st_mtime, _size(entry))
        over = sum(size for _, size in sizes.values()) - self._bound
        for entry, (_, size) in sorted(sizes.items(), key=lambda each: each[1]):
            if over <= 0:
                break
            if entry not in _in_use:
                shutil.rmtree(entry, ignore_errors=True)
                over -= size

    def close(self) -> None:
        """Let the folder go; remove what is kept for this call alone, and what is over the
        bound."""
        _in_use.discard(self.folder)
        if self._temporary is not None:
            self._temporary.cleanup()
        with contextlib.suppress(OSError):  # such as a folder that another process removed
            self.trim()


def _size(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def _read(place: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a folder; None where it is not there or not whole."""
    try:
        described = json.loads((place / "arrays.json").read_text(encoding="utf-8"))
        found = {}
        for name, (kind, shape) in described.items():
            path = place / f"{name}.npy"
            found[name] = np.load(path, mmap_mode="r" if all(shape) else None, allow_pickle=False)
            if found[name].dtype.str != kind or list(found[name].shape) != shape:
                return None
        return found
    except (OSError, EOFError, ValueError, TypeError, AttributeError):
        return None


def _write(place: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """A folder of arrays; one that another process put there meanwhile stays."""
    with storage_errors("write", place):
        folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=place.parent))
        try:
            for name, array in arrays.items():
                np.save(folder / f"{name}.npy", array, allow_pickle=False)
            described = {n: [a.dtype.str, list(a.shape)] for n, a in arrays.items()}
            (folder / "arrays.json").write_text(json.dumps(described), encoding="utf-8")
            shutil.rmtree(place, ignore_errors=True)
            folder.rename(place)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
