"""Pictures of a page: decoded, shrunk, encoded anew, and counted where that fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from helip.common.errors import SampleError
from helip.common.text import plain
from helip.data.thumbnails import data_uri

SIDE = 192  # pixels: sharp at 96 CSS pixels on a dense screen
ALT = 120
KEY = 60  # letters of a key


@dataclass(frozen=True)
class Picture:
    """A picture inside the page, or why it is missing."""

    alt: str
    missing: str = ""
    width: int = 0
    height: int = 0
    uri: str = ""
    lazy: bool = False
    """Whether a browser may fetch it once it comes into view."""


class Pictures:
    """Gives what is shown of rows: picture, caption and name, as far as there are any.

    ``failures`` counts rows by reason. ``data`` is a data set, or None where ``captions``, a text a
    row, or nothing but ``keys`` are there.
    """

    def __init__(
        self,
        data: Any,
        captions: Sequence[str | None] | None = None,
        keys: Sequence[str] | None = None,
    ):
        self._data, self._given, self._keys = data, captions, keys
        self._pictures: dict[int, Picture] = {}
        self._captions: dict[int, str | None] = {}
        self.failures: Counter[str] = Counter()

    @property
    def shown(self) -> bool:
        """Whether there are pictures."""
        return self._data is not None

    @property
    def captioned(self) -> bool:
        """Whether there are captions."""
        return self._data is not None or self._given is not None

    def name(self, row: int) -> str:
        """The key of a row, its end where it is long; its number where keys are not known."""
        if self._keys is None:
            return f"row {row}"
        key = self._keys[row]
        return key if len(key) <= KEY else f"…{key[1 - KEY :]}"

    def picture(self, row: int) -> Picture:
        """The picture of a row, decoded once."""
        if row not in self._pictures:
            try:
                encoded = data_uri(self._data.image(row), SIDE)
                self._pictures[row] = Picture(self._alt(row), "", *encoded)
            except SampleError as error:
                self.failures[error.reason] += 1
                self._pictures[row] = Picture(self._alt(row), error.reason.replace("_", " "))
        return self._pictures[row]

    def caption(self, row: int) -> str | None:
        """The caption of a row, or None where it has none."""
        if row not in self._captions:
            try:
                self._captions[row] = self._read_caption(row)
            except SampleError as error:
                self._captions[row] = None
                self.failures[error.reason] += 1
        return self._captions[row]

    def _read_caption(self, row: int) -> str:
        if self._given is None:
            return self._data.caption(row)
        if not (text := (self._given[row] or "").strip()):
            raise SampleError.of(self.name(row), "missing_caption", "it has no caption")
        return text

    def failures_in_words(self) -> str:
        """How many samples could not be read, and why."""
        total = self.failures.total()
        reasons = ", ".join(
            f"{reason.replace('_', ' ')} ({count})"
            for reason, count in sorted(self.failures.items())
        )
        samples = "1 sample" if total == 1 else f"{total} samples"
        return f"{samples} on this page could not be read: {reasons}."

    def _alt(self, row: int) -> str:
        text = self.caption(row)
        return f"Row {row}" if text is None else f"Row {row}: {plain(text, ALT)}"
