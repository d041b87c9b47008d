"""Pictures of a page: decoded, shrunk, encoded anew, and counted where that fails."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from helip.common.errors import SampleError
from helip.common.text import plain
from helip.data.thumbnails import data_uri

SIDE = 192  # pixels: sharp at 96 CSS pixels on a dense screen
ALT = 120


@dataclass(frozen=True)
class Picture:
    """A picture inside the page, or why it is missing."""

    alt: str
    missing: str = ""
    width: int = 0
    height: int = 0
    uri: str = ""


class Pictures:
    """Gives pictures and captions of rows. ``failures`` counts rows by reason."""

    def __init__(self, data: Any):
        self._data = data
        self._pictures: dict[int, Picture] = {}
        self._captions: dict[int, str | None] = {}
        self.failures: Counter[str] = Counter()

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
                self._captions[row] = self._data.caption(row)
            except SampleError as error:
                self._captions[row] = None
                self.failures[error.reason] += 1
        return self._captions[row]

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
