"""Encoded bytes to an RGB picture, within bounds of memory and time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from helip.common.errors import SampleError
from helip.data.options import MAX_PIXELS, MAX_SECONDS

# A progressive JPEG has about ten scans; each more costs a pass over the whole picture.
MAX_JPEG_SCANS = 100

_FORMATS = ("JPEG", "PNG", "WEBP", "PPM", "GIF", "BMP", "TIFF")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = {_TURNS[number] for number in (5, 6, 7, 8)}  # width and height


def decode_image(
    data: bytes,
    *,
    key: str = "",
    max_pixels: int = MAX_PIXELS,
    max_seconds: float = MAX_SECONDS,
) -> Image.Image:
    """Decode one picture: RGB, upright, its first frame, transparency over white.

    The format is told by the content, never by a name, and only JPEG, PNG, WebP, PPM, GIF, BMP
    and TIFF are tried. The size is checked before any pixel is decoded.

    Raises:
        SampleError: ``unreadable_image`` (unknown, damaged or truncated), ``too_large``
            (pixels, JPEG scans, or memory) or ``too_slow``, which is seen where Pillow asks for
            more bytes, and at the end.
    """
    try:
        with (
            time_limit(max_seconds, key=key) as check,
            Image.open(_Watched(data, check), formats=_FORMATS) as image,
        ):
            if image.format == "PPM" and not data.startswith(b"P6"):
                raise UnidentifiedImageError("of its kinds binary PPM alone is read")
            # Within compressed data FF is always followed by 00, so FFDA does start a scan.
            scans = data.count(b"\xff\xda") if image.format in ("JPEG", "MPO") else 1
            if scans > MAX_JPEG_SCANS:
                detail = f"the JPEG has {scans:,} scans, more than {MAX_JPEG_SCANS}"
                raise SampleError.of(key, "too_large", detail)
            return to_rgb(image, key=key, max_pixels=max_pixels)
    except SampleError:
        raise
    except UnidentifiedImageError as error:
        what = f"starts with {data[:8]!r}" if data else "is empty"
        detail = f"the picture {what}, and is no JPEG, PNG, WebP, PPM, GIF, BMP or TIFF"
        raise SampleError.of(key, "unreadable_image", detail) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise SampleError.of(key, "too_large", f"the picture is too large: {error}") from error
    # Pillow's parsers raise OSError, SyntaxError, struct.error, ValueError, IndexError and more.
    except Exception as error:
        detail = f"the picture cannot be decoded: {error}"
        raise SampleError.of(key, "unreadable_image", detail) from error


def upright_size(data: bytes, *, key: str = "") -> tuple[int, int]:
    """Width and height of a picture once it is upright, of its header alone.

    Raises:
        SampleError: ``unreadable_image``.
    """
    try:
        with Image.open(BytesIO(data), formats=_FORMATS) as image:
            turn = _turn_of(image)
            return image.size if turn not in _SWAPPING else image.size[::-1]
    except Exception as error:
        detail = f"the size of the picture cannot be read: {error}"
        raise SampleError.of(key, "unreadable_image", detail) from error


@contextmanager
def time_limit(seconds: float, *, key: str = "") -> Iterator[Callable[[], None]]:
    """Raise SampleError ``too_slow`` where the block takes longer than ``seconds``: at its end, and
    whenever it calls what it is given."""
    begin = time.monotonic()

    def check() -> None:
        spent = time.monotonic() - begin
        if spent > seconds:
            raise SampleError.of(
                key,
                "too_slow",
                f"the picture was still not decoded after {spent:.3g} s, more than {seconds:g} s; "
                "raise max_seconds if it is genuine, or write it anew in a smaller size",
            )

    yield check
    check()


class _Watched(BytesIO):
    """Bytes that look at the clock when they are read."""

    def __init__(self, data: bytes, check: Callable[[], None]) -> None:
        super().__init__(data)
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return super().read(size)


def to_rgb(image: Image.Image, *, key: str = "", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return a Pillow image as a new RGB image: upright, transparency over white.

    16-bit grey is scaled to 8 bits; 32-bit integers and floats by their own range, as such
    pictures name no white.
    """
    width, height = image.size
    if width * height > max_pixels:
        raise SampleError.of(
            key,
            "too_large",
            f"the picture has {width} x {height} pixels, more than {max_pixels:,}; raise "
            "max_pixels if it is genuine",
        )
    image.load()
    upright = _turn_upright(image)
    # Pillow before 11 opens 16-bit PNG as "I".
    if upright.mode.startswith("I;16") or (upright.mode == "I" and image.format == "PNG"):
        upright = _scale_grey(upright, white=65535.0)
    elif upright.mode in ("I", "F"):
        upright = _scale_grey(upright, white=None)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        result = Image.new("RGB", layer.size, (255, 255, 255))
        result.paste(layer, mask=layer.getchannel("A"))
    else:
        result = upright.convert("RGB")
    # Profiles, EXIF and text would travel from worker to trainer for nothing.
    result.info = {}
    return result


def _turn_upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose also writes the metadata anew, which fails where it is damaged.
    turn = _turn_of(image)
    return image if turn is None else image.transpose(turn)


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return None  # a picture with damaged metadata is still a picture


def _scale_grey(image: Image.Image, *, white: float | None) -> Image.Image:
    """Levels from 0 to ``white``, or from the smallest to the largest, as 0 to 255."""
    values = np.asarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("its pixels are not all finite")
    low, high = (0.0, white) if white else (float(values.min()), float(values.max()))
    span = high - low or 1.0
    scaled = np.clip((values - low) * (255.0 / span) + 0.5, 0.0, 255.0)
    return Image.fromarray(scaled.astype(np.uint8))
