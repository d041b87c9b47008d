"""Small pictures inside of HTML."""

from __future__ import annotations

import base64
import io
from typing import Any

from markupsafe import Markup

from helip.common.errors import Error, SampleError
from helip.common.text import caption

_SIDE = 96
_CAPTION = 80


def data_uri(image: Any, side: int) -> tuple[int, int, str]:
    """(width, height, data URI) of a picture of at most ``side`` pixels, without its metadata."""
    from PIL import Image, features

    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
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


def sample_html(data: Any, row: int) -> Markup:
    """Picture and caption of a row, or why they are missing; nothing of data that lies elsewhere,
    which would have to be fetched."""
    if getattr(data, "_is_remote", bool)():
        return Markup("")
    try:
        width, height, uri = data_uri(data.image(row), _SIDE)
        picture = Markup('<img src="{}" width="{}" height="{}" alt=""><br>').format(
            uri, width, height
        )
    except Error as error:
        picture = _missing_html(error)
    try:
        return picture + caption(data.caption(row), _CAPTION)
    except Error as error:
        return picture + _missing_html(error)


def _missing_html(error: Error) -> Markup:
    reason = error.reason if isinstance(error, SampleError) else error.code
    return Markup("<i>{}</i><br>").format(reason.replace("_", " "))
