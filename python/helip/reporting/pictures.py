"""Pictures of a page: decoded, shrunk, encoded anew, and counted where that fails."""

from __future__ import annotations

import base64
import io
from collections import Counter
from typing import Any

from helip.common.errors import SampleError
from helip.reporting.html import Html, caption, markup, plain

SIDE = 192  # pixels: sharp at 96 CSS pixels on a dense screen
ALT = 120


class Pictures:
    """Gives pictures and captions of rows as markup. ``failures`` counts rows by reason."""

    def __init__(self, data: Any):
        self._data = data
        self._pictures: dict[int, Html] = {}
        self._captions: dict[int, str | None] = {}
        self.failures: Counter[str] = Counter()

    def picture(self, row: int) -> Html:
        """An ``<img>`` with the picture inside, or a placeholder that says why there is none."""
        if row not in self._pictures:
            self._pictures[row] = self._draw(row)
        return self._pictures[row]

    def caption(self, row: int) -> Html:
        """The caption as harmless text, or a note that there is none."""
        text = self._text(row)
        return Html('<span class="absent">no caption</span>') if text is None else caption(text)

    def alt(self, row: int) -> str:
        text = self._text(row)
        return f"Row {row}" if text is None else f"Row {row}: {plain(text, ALT)}"

    def _text(self, row: int) -> str | None:
        if row not in self._captions:
            try:
                self._captions[row] = self._data.caption(row)
            except SampleError as error:
                self._captions[row] = None
                self.failures[error.reason] += 1
        return self._captions[row]

    def _draw(self, row: int) -> Html:
        try:
            image = self._data.image(row)
        except SampleError as error:
            self.failures[error.reason] += 1
            return markup(
                '<div class="picture missing" role="img" aria-label="{alt}, not shown: {why}">'
                "<span>{why}</span></div>",
                alt=self.alt(row),
                why=error.reason.replace("_", " "),
            )
        width, height, uri = data_uri(image)
        return markup(
            '<img class="picture" src="{uri}" width="{width}" height="{height}" alt="{alt}">',
            uri=Html(uri),
            width=width,
            height=height,
            alt=self.alt(row),
        )


def data_uri(image: Any) -> tuple[int, int, str]:
    """(width, height, data URI) of a picture of at most SIDE pixels, without its metadata."""
    from PIL import Image, features

    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    # Pasting keeps pixels alone: profiles and EXIF of the original would be saved along.
    clean = Image.new("RGB", small.size)
    clean.paste(small)
    buffer = io.BytesIO()
    if features.check("webp"):
        kind = "webp"
        clean.save(buffer, "WEBP", quality=80, method=4)
    else:
        kind = "jpeg"
        clean.save(buffer, "JPEG", quality=82, optimize=True)
    body = base64.b64encode(buffer.getvalue()).decode()
    return clean.width, clean.height, f"data:image/{kind};base64,{body}"
