"""When two captions are equal, and the captions of many rows in flat arrays.

The normal form of a caption is Unicode's NFKC without case, with single spaces, and without the
punctuation that ends a sentence (one of ``.,;:!?`` and their like in other scripts) at its end:
"Two  dogs." and "two dogs" are equal. A caption of punctuation alone keeps it.

Equal captions have one number, a 64-bit hash (BLAKE2b) of the normal form. It needs no table, and
every process finds the same one. Among n distinct captions two have one number by chance with a
probability of n^2 / 2^65: 3e-6 for ten million, 3e-11 for the rows of a batch of 32,768.
"""

from __future__ import annotations

import hashlib
import struct
import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from helip import _core
from helip.data.packed_strings import PackedStrings, StringPacker

#: NFKC has turned full-width and other variants into these before.
_ENDS = ".,;:!?\u3001\u3002\u0964\u061f\u060c\u06d4"
_FORMAT = struct.Struct("<q")


def normalised_caption(text: str) -> str:
    """The normal form in which captions are compared; see the top of this module."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    spaced = " ".join(folded.split())
    return spaced.rstrip(_ENDS + " ") or spaced


def caption_group(text: str) -> int:
    """The number of all captions that equal ``text``: a signed 64-bit integer, never 0."""
    form = normalised_caption(text).encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(form, digest_size=8).digest()
    return int(_FORMAT.unpack(digest)[0]) or 1


def captions_of(data: Any, row: int) -> Sequence[str]:
    """All captions of a row; an object that is no Dataset may have only one a row."""
    several = getattr(data, "captions", None)
    return (data.caption(row),) if several is None else several(row)


def texts_of(value: Any) -> list[str]:
    """The captions in a cell, stripped: of a list all that are text and not empty, once each.

    A number is its digits; None, a bool, a float or an object is no caption.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    cells = value if isinstance(value, (list, tuple)) else [value]
    texts = (
        "" if cell is None or isinstance(cell, (dict, list, tuple, float, bool)) else str(cell)
        for cell in cells
    )
    return list(dict.fromkeys(text.strip() for text in texts if text.strip()))


class PackedCaptions:
    """The captions of each row of a data set; a row has none, one or several.

    Args:
        texts: all of them, one after the other; one that is empty for a row that has none.
        starts: where the captions of a row begin, int64 [rows + 1]; None where each row has one.
    """

    def __init__(self, texts: PackedStrings, starts: np.ndarray | None) -> None:
        self._texts, self._starts = texts, starts

    @classmethod
    def of(cls, rows: Iterable[Sequence[str]]) -> PackedCaptions:
        packer = CaptionPacker()
        for captions in rows:
            packer.append(captions)
        return packer.packed()

    def __len__(self) -> int:
        return len(self._texts) if self._starts is None else len(self._starts) - 1

    def __getitem__(self, row: int) -> list[str]:
        """The captions of a row; one that is empty where it has none."""
        if self._starts is None:
            return [self._texts[row]]
        first, end = self._starts[row : row + 2].tolist()
        return [self._texts[place] for place in range(first, end)]

    def empty_rows(self) -> np.ndarray:
        """The rows [m] without a caption, ascending."""
        empty = self._texts.empty_rows()
        if self._starts is None:
            return empty
        return np.searchsorted(self._starts, empty, side="right") - 1

    def digests(self, rows: np.ndarray) -> np.ndarray:
        """`caption_digests` of ``rows`` [n]."""
        if self._starts is None:
            return _core.packed_caption_digests(self._texts.blob, self._texts.offsets, rows)
        return caption_digests(self[row] for row in rows.tolist())

    def counts(self) -> dict[str, int]:
        """``several_captions``: rows that have more than one; nothing where none has."""
        if self._starts is None:
            return {}
        return {"several_captions": int((np.diff(self._starts) > 1).sum())}


class CaptionPacker:
    """Takes the captions of one row after the other; `packed` gives those so far."""

    def __init__(self) -> None:
        self._packer, self._starts, self._several = StringPacker(), array("q", [0]), False

    def __len__(self) -> int:
        """Rows so far."""
        return len(self._starts) - 1

    def append(self, captions: Sequence[str]) -> None:
        for caption in captions or ("",):
            self._packer.append(caption)
        self._several = self._several or len(captions) > 1
        self._starts.append(len(self._packer))

    def packed(self) -> PackedCaptions:
        starts = np.frombuffer(self._starts, dtype=np.int64) if self._several else None
        return PackedCaptions(PackedStrings(*self._packer.arrays()), starts)


def caption_digests(rows: Iterable[Sequence[str]]) -> np.ndarray:
    """uint64 [n]: XXH3-64 of the captions of each row, several with line feeds between them."""
    encoded: list[Any] = ["\n".join(each).encode("utf-8", "surrogatepass") for each in rows]
    return _core.caption_digests(encoded)


def packed_groups(rows: Iterator[Sequence[str]]) -> tuple[np.ndarray, np.ndarray]:
    """``offsets`` int64 [n + 1], ``groups``: those of row i lie at offsets[i] : offsets[i + 1]."""
    groups, offsets = array("q"), array("q", [0])
    for captions in rows:
        groups.extend(dict.fromkeys(map(caption_group, captions)))
        offsets.append(len(groups))
    return np.frombuffer(offsets, dtype=np.int64), np.frombuffer(groups, dtype=np.int64)
