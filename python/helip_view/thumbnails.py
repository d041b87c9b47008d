"""Small pictures of rows, made once by the core's reader and kept in a bounded file."""

from __future__ import annotations

import contextlib
import io
import logging
import secrets
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from helip import Error, SampleError
from helip.data import ImageTransform, TransformedPictures

_LOG = logging.getLogger(__name__)
SIDE = 320  # pixels: sharp at 160 CSS pixels on a dense screen, and clear at twice that
_SHARE_FREED = 8


class Thumbnails:
    """WebP pictures of ``SIDE`` by ``SIDE`` pixels, the whole picture on white.

    Any number of threads may ask. A file that is full lets its oldest pictures go; one that fails
    or is damaged makes nothing fail.
    """

    def __init__(self, data: Any, folder: Path, bound: int) -> None:
        #: In the address of each picture: a browser keeps pictures, and another viewer may have
        #: others at the same port and row.
        self.mark = secrets.token_hex(4)
        whole = ImageTransform(
            size=SIDE, crop="longest", fill=(255, 255, 255), dtype="uint8", layout="nhwc"
        )
        self._pictures = TransformedPictures(data, whole)
        self._keeping = threading.Lock()
        self._bound, self._bytes = bound, 0
        self._kept = self._open(folder / "thumbnails.sqlite")

    def get(self, row: int) -> bytes:
        """The picture of a row. Raises SampleError where it cannot be read."""
        if (found := self._look(row)) is not None:
            return found
        made = _encoded(self._pictures.get(row).numpy())
        self._keep(row, made)
        return made

    def close(self) -> None:
        """Close the file."""
        with self._keeping:
            if self._kept is not None:
                self._kept.close()
                self._kept = None

    def _look(self, row: int) -> bytes | None:
        with self._keeping, self._failing():
            if self._kept is not None:
                found = self._kept.execute("SELECT body FROM thumbnails WHERE row = ?", (row,))
                if (body := found.fetchone()) is not None:
                    return bytes(body[0])
        return None

    def _keep(self, row: int, body: bytes) -> None:
        with self._keeping, self._failing():
            if self._kept is None or len(body) > self._bound:
                return
            with self._kept:
                if self._bytes + len(body) > self._bound:
                    self._bytes -= self._freed(self._bytes // _SHARE_FREED + len(body))
                self._kept.execute(
                    "INSERT OR IGNORE INTO thumbnails VALUES (?, ?, ?)", (row, time.time_ns(), body)
                )
                self._bytes += len(body)

    def _freed(self, wanted: int) -> int:
        """Remove the oldest, ``wanted`` bytes or more; how many they were."""
        assert self._kept is not None
        freed, last = 0, 0
        for made, size in self._kept.execute(
            "SELECT time, length(body) FROM thumbnails ORDER BY time"
        ):
            freed, last = freed + size, made
            if freed >= wanted:
                break
        self._kept.execute("DELETE FROM thumbnails WHERE time <= ?", (last,))
        return freed

    @contextlib.contextmanager
    def _failing(self) -> Any:
        """An error of the file inside ends keeping, and nothing else."""
        try:
            yield
        except sqlite3.Error as error:
            _LOG.warning("thumbnails are no longer kept: %s", error)
            self._kept = None

    def _open(self, path: Path) -> sqlite3.Connection | None:
        for _ in range(2):
            try:
                connection = sqlite3.connect(path, check_same_thread=False, timeout=5)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS thumbnails "
                    "(row INTEGER PRIMARY KEY, time INTEGER NOT NULL, body BLOB NOT NULL)"
                )
                connection.execute("CREATE INDEX IF NOT EXISTS made ON thumbnails (time)")
                total = connection.execute("SELECT sum(length(body)) FROM thumbnails").fetchone()
                self._bytes = int(total[0] or 0)
                return connection
            except sqlite3.DatabaseError as error:
                _LOG.warning("thumbnails are made anew: %s", error)
                for end in ("", "-wal", "-shm"):
                    path.with_name(path.name + end).unlink(missing_ok=True)
        return None


def reason_of(error: Error) -> str:
    """Why a picture is missing, in two words."""
    reason = error.reason if isinstance(error, SampleError) else error.code
    return reason.replace("_", " ")


def _encoded(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=82, method=2)
    return buffer.getvalue()
