"""Small pictures of rows, made by the core's reader; the last ones are kept in memory."""

from __future__ import annotations

import functools
import io
import secrets
from typing import Any

import numpy as np

from helip import Error, SampleError
from helip.data import ImageTransform, TransformedPictures

SIDE = 320  # pixels: sharp at 160 CSS pixels on a dense screen, and clear at twice that
_KEPT = 4096  # of some 10 KB each


class Thumbnails:
    """WebP pictures of ``SIDE`` by ``SIDE`` pixels, the whole picture on white.

    Any number of threads may ask.
    """

    def __init__(self, data: Any) -> None:
        #: In the address of each picture: a browser keeps pictures, and another viewer may have
        #: others at the same port and row.
        self.mark = secrets.token_hex(4)
        whole = ImageTransform(
            size=SIDE, crop="longest", fill=(255, 255, 255), dtype="uint8", layout="nhwc"
        )
        self._pictures = TransformedPictures(data, whole)
        self._kept = functools.lru_cache(_KEPT)(self._made)

    def get(self, row: int) -> bytes:
        """The picture of a row. Raises SampleError where it cannot be read."""
        return self._kept(row)

    def _made(self, row: int) -> bytes:
        return _encoded(self._pictures.get(row).numpy())


def reason_of(error: Error) -> str:
    """Why a picture is missing, in two words."""
    reason = error.reason if isinstance(error, SampleError) else error.code
    return reason.replace("_", " ")


def _encoded(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=82, method=2)
    return buffer.getvalue()
