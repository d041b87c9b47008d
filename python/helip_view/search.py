"""What people search for: rows like a sentence or a picture, by the encoders of the store, and rows
by words of their captions, by an index for full text that SQLite makes once."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from helip import InvalidArgumentError, UnsupportedError
from helip.data import captions_in_order, decode_image
from helip.encoders import image_encoder, text_encoder

_LOG = logging.getLogger(__name__)

FOUND = 48  # rows of an answer
LONGEST = 1_000  # letters of a sentence
PICTURE_BYTES = 20 << 20
_MAX_PIXELS = 50_000_000
_KEPT = 64  # pictures that were asked about
_CAPTIONS = 5_000  # of a transaction


class Seeking:
    """Finds rows by one similarity, or by the product of both as mining does.

    Encoders are loaded when they are first needed. Safe to use from threads; they take turns.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        facts = {} if store is None else store.metadata
        self._specs = {side: str(facts.get(f"{side}_encoder") or "") for side in ("image", "text")}
        self._encoders: dict[str, Any] = {}
        self._pictures: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def sides(self) -> list[str]:
        """What may be asked by: ``image``, ``text``."""
        return [side for side, spec in self._specs.items() if ":" in spec]

    def keep(self, body: bytes) -> str:
        """Encode a picture that was sent; its name in addresses.

        Raises SampleError where it cannot be decoded: its format is told by its bytes, and only
        those that data sets may have are tried.
        """
        if not body:
            raise InvalidArgumentError("the picture has 0 bytes; choose a file")
        image = decode_image(body, key="the picture that was sent", max_pixels=_MAX_PIXELS)
        with self._lock:
            encoder = self._encoder("image")
            vector = encoder.encode(encoder.preprocess(image)[None]).numpy()
            name = hashlib.blake2b(body, digest_size=12).hexdigest()
            self._pictures[name] = vector
            self._pictures.move_to_end(name)
            while len(self._pictures) > _KEPT:
                self._pictures.popitem(last=False)
        return name

    def find(self, sentence: str, picture: str) -> tuple[str, list[tuple[int, float]]]:
        """By what the rows were found, in words, and (row, similarity), best first.

        Raises InvalidArgumentError where nothing is asked, and for a picture that is no longer
        known.
        """
        sentence = sentence.strip()[:LONGEST]
        with self._lock:
            image = text = None
            if picture and (image := self._pictures.get(picture)) is None:
                raise InvalidArgumentError("that picture is no longer known; send it again")
            if sentence:
                text = self._encoder("text").encode([sentence]).numpy()
            if image is None and text is None:
                raise InvalidArgumentError("neither a sentence nor a picture is given")
            asked = [(side, each) for side, each in enumerate((image, text)) if each is not None]
            side = ("picture", "caption")[asked[0][0]]
            by = "product of both similarities" if len(asked) > 1 else f"similarity of the {side}"
            return by, self._best(asked)

    def _encoder(self, side: str) -> Any:
        if side not in self.sides:
            raise UnsupportedError(
                f"the store does not say which {side} encoder made it; start helip view with "
                "--store, and a store that helip embed made"
            )
        if side not in self._encoders:
            load = image_encoder if side == "image" else text_encoder
            self._encoders[side] = load(self._specs[side])
        return self._encoders[side]

    def _best(self, asked: list[tuple[int, Any]]) -> list[tuple[int, float]]:
        """Rows by the product of the cosines of the sides ``asked``; reads the store in blocks."""
        best: list[tuple[float, int]] = []
        units = [
            (side, vector[0] / max(np.linalg.norm(vector[0]), 1e-30)) for side, vector in asked
        ]
        step = max(1, (32 << 20) // (4 * (self._store.image_dim + self._store.text_dim)))
        for start in range(0, len(self._store), step):
            rows = self._store.rows(slice(start, min(start + step, len(self._store))))
            scores = np.ones(len(rows[0]), dtype=np.float32)
            for side, vector in units:
                block = rows[side].numpy()
                norms = np.linalg.norm(block, axis=1)
                # A product of two negative cosines is no likeness.
                cosines = block @ vector / np.where(norms == 0, np.inf, norms)
                scores *= np.maximum(cosines, 0) if len(units) > 1 else cosines
            for place in np.argpartition(-scores, min(FOUND, len(scores) - 1))[:FOUND].tolist():
                best.append((-float(scores[place]), start + place))
            best = sorted(best)[:FOUND]
        return [(row, -score) for score, row in best if score or len(units) == 1]


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
        if not (query := _fts5(words)):
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
                last = min(row + _CAPTIONS, len(self._data))
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


def _fts5(words: str) -> str:
    """The words as FTS5 takes them: each quoted, so that none is an operator."""
    quoted = ['"{}"'.format(word.replace('"', '""')) for word in words.replace("\0", " ").split()]
    return " ".join(quoted) + "*" if quoted else ""
