"""Captions and pictures of the rows that a table names, as columns of Arrow."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from helip.common.errors import SampleError
from helip.data.dataset import read_ahead
from helip.data.paths import file_sizes

#: What is read of a row: ``path`` is a picture that has a file of its own, and no other.
Kind = Literal["text", "image", "path"]

_MISSING = "missing_image"
_NO_TEXT = "name_not_utf8"  # of a file: any bytes may name one, and a table has text alone


class Cells:
    """What each of some rows has: a caption, or a picture.

    ``readable`` bool [n] tells of each row of ``rows`` int64 [n], ascending, whether it could be
    read; ``failures`` counts the others by reason. Captions are the first of each row. A picture is
    the path of its file; where it has none of its own, its bytes as they lie, else PNG.
    """

    def __init__(self, data: Any, rows: np.ndarray, kind: Kind) -> None:
        import pyarrow

        self._arrow: Any = pyarrow
        self.rows = rows
        self.failures: Counter[str] = Counter()
        texts: list[str | None]
        blobs: list[bytes | None]
        texts, blobs = [], []
        for row in read_ahead(data, rows.tolist(), captions=kind != "image"):
            text = blob = None
            try:
                if kind == "text":
                    text = data.caption(row)
                elif kind == "image":
                    text, blob = _picture(data, row)
                elif (text := _path(data, row)) is None:
                    self.failures["no_file"] += 1
            except SampleError as error:
                self.failures[error.reason] += 1
            if text is not None and kind != "text" and not _is_utf8(text):
                text = None
                self.failures[_NO_TEXT] += 1
            texts.append(text)
            blobs.append(blob)
        if kind != "text":
            self._refuse_absent(texts)
        self.readable = np.array(
            [text is not None or blob is not None for text, blob in zip(texts, blobs, strict=True)],
            dtype=np.bool_,
        )
        # Large ones, since all of them together may have more than 2 GiB.
        self._texts = pyarrow.array(texts, type=pyarrow.large_string())
        self._blobs = None
        if kind == "image":
            self._blobs = pyarrow.array(blobs, type=pyarrow.large_binary())

    @property
    def mean_bytes(self) -> float:
        """Bytes of a cell, on average."""
        whole = self._texts.nbytes + (0 if self._blobs is None else self._blobs.nbytes)
        return whole / max(len(self.rows), 1)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where ``rows`` [...], all of them among these, lie in ``readable``."""
        return np.searchsorted(self.rows, rows)

    def text(self, row: int) -> str:
        """The caption, or the path of the picture, of a row that could be read."""
        return self._texts[int(self.places(np.array(row)))].as_py()

    def take(self, rows: np.ndarray) -> Any:
        """An Arrow array of ``rows`` [n]: string, or struct of ``bytes`` and ``path``."""
        places = self._arrow.array(self.places(rows))
        texts = self._texts.take(places).cast(self._arrow.string())
        if self._blobs is None:
            return texts
        blobs = self._blobs.take(places).cast(self._arrow.binary())
        return self._arrow.StructArray.from_arrays([blobs, texts], ["bytes", "path"])

    def _refuse_absent(self, paths: list[str | None]) -> None:
        named = [place for place, path in enumerate(paths) if path is not None]
        sizes = file_sizes(paths[place] or "" for place in named)
        for place in (named[i] for i in np.flatnonzero(sizes == 0).tolist()):
            paths[place] = None
            self.failures[_MISSING] += 1


def reasons_in_words(failures: Mapping[str, int]) -> str:
    """How many rows could not be read, by reason."""
    return ", ".join(f"{count:,} {reason}" for reason, count in failures.items())


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _picture(data: Any, row: int) -> tuple[str | None, bytes | None]:
    """(path, bytes) of a picture, of which one is None; what has neither is decoded."""
    path = _path(data, row)
    if path is not None:
        return path, None
    blob = data._image_bytes(row) if hasattr(data, "_image_bytes") else None
    if blob is None:
        buffer = io.BytesIO()
        data.image(row).save(buffer, "PNG")
        blob = buffer.getvalue()
    return None, blob


def _path(data: Any, row: int) -> str | None:
    return data.image_path(row) if hasattr(data, "image_path") else None
