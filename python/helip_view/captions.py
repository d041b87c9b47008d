"""Full-text search in the captions of a data set, by an index that SQLite makes once."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any

import numpy as np

from helip.data import captions_in_order

_LOG = logging.getLogger(__name__)
_BLOCK = 5_000  # captions of a transaction


class CaptionSearch:
    """Rows by words of their captions. The index is made in a thread; until then nothing is found.

    Any number of threads may search.
    """

    def __init__(self, data: Any, folder: Path) -> None:
        self._data, self._path = data, folder / "captions.sqlite"
        self._read = 0
        self._ended = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._make, name="helip-captions", daemon=True)
        self.failure = ""

    def start(self) -> None:
        """Begin to make the index, or find it."""
        self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether the index is there within ``timeout`` seconds."""
        return self._ended.wait(timeout) and not self.failure

    @property
    def share(self) -> float:
        """How much of the index is there: 0 to 1."""
        ready = self._ended.is_set() and not self.failure
        return 1.0 if ready else min(self._read / max(len(self._data), 1), 0.999)

    def find(self, words: str) -> np.ndarray | None:
        """Rows int64 [m], ascending, with all the words; the last may be the begin of one.

        None while the index is not there.
        """
        if not self.wait(0):
            return None
        if not (query := _query(words)):
            return np.empty(0, dtype=np.int64)
        try:
            with contextlib.closing(self._connect()) as connection:
                found = connection.execute(
                    "SELECT rowid FROM captions WHERE captions MATCH ? ORDER BY rowid", (query,)
                ).fetchall()
        except sqlite3.Error as error:
            _LOG.warning("the search in captions failed: %s", error)
            return np.empty(0, dtype=np.int64)
        return np.array(found, dtype=np.int64).reshape(-1)

    def close(self) -> None:
        """Stop making the index; what was made is gone on with at the next start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _make(self) -> None:
        try:
            for again in (True, False):
                try:
                    self._fill()
                    break
                except sqlite3.DatabaseError as error:
                    if not again or isinstance(error, sqlite3.OperationalError):
                        raise
                    for end in ("", "-wal", "-shm"):  # damaged: made anew
                        self._path.with_name(self._path.name + end).unlink(missing_ok=True)
        except Exception as error:  # also of a data set of somebody's own: it must end, and say so
            self.failure = str(error) or type(error).__name__
            _LOG.warning("captions cannot be searched: %s", self.failure)
        if not self._stop.is_set():
            self._ended.set()

    def _fill(self) -> None:
        """Put in the captions that are not there yet; a block is there whole or not at all."""
        connection = self._connect()
        try:
            # Without contents: the captions are in the data already.
            connection.execute(
                "CREATE VIRTUAL TABLE IF NOT EXISTS captions USING "
                "fts5(text, content='', tokenize='unicode61 remove_diacritics 2')"
            )
            connection.execute("CREATE TABLE IF NOT EXISTS reached (rows INTEGER NOT NULL)")
            while not self._stop.is_set():
                connection.execute("BEGIN IMMEDIATE")  # another viewer may fill it too
                row = connection.execute("SELECT max(rows) FROM reached").fetchone()[0] or 0
                self._read = row
                if row >= len(self._data):
                    connection.execute("COMMIT")
                    return
                last = min(row + _BLOCK, len(self._data))
                connection.executemany(
                    "INSERT INTO captions (rowid, text) VALUES (?, ?)",
                    (
                        (each, "\n".join(texts))
                        for each, texts in captions_in_order(self._data, range(row, last))
                    ),
                )
                connection.execute("INSERT INTO reached VALUES (?)", (last,))
                connection.execute("COMMIT")
        finally:
            connection.close()


def _query(words: str) -> str:
    """The words as FTS5 takes them: each quoted, so that none is an operator."""
    quoted = ['"{}"'.format(word.replace('"', '""')) for word in words.replace("\0", " ").split()]
    return " ".join(quoted) + "*" if quoted else ""
