"""Encoded bytes to an RGB picture, within bounds of memory and time."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from helip.common.errors import SampleError
from helip.data.options import MAX_PIXELS

if TYPE_CHECKING:
    from types import ModuleType

    from PIL import Image

# A progressive JPEG has about ten scans; each more costs a pass over the whole picture.
MAX_JPEG_SCANS = 100

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)

_EXIF_ORIENTATION = 0x0112


def sniff_format(data: bytes) -> str | None:
    """Return JPEG, PNG, WEBP, GIF, BMP or TIFF by the first bytes, None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


def decode_image(data: bytes, *, key: str = "", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode one picture: RGB, upright, its first frame, transparency over white.

    The format is told by the content, never by a name, and only the six formats of
    :func:`sniff_format` are tried. The size is checked before any pixel is decoded.

    Raises:
        SampleError: ``unreadable_image`` (unknown, damaged or truncated) or ``too_large``
            (pixels, JPEG scans, or memory).
    """
    pil = _pillow()
    kind = sniff_format(data)
    if kind is None:
        what = f"starts with {data[:8]!r}" if data else "is empty"
        raise SampleError(
            f"sample {key!r}: the picture {what}, which is none of JPEG, PNG, WebP, GIF, BMP, TIFF",
            key=key,
            reason="unreadable_image",
        )
    # Within compressed data FF is always followed by 00, so FFDA does start a scan.
    scans = data.count(b"\xff\xda") if kind == "JPEG" else 1
    if scans > MAX_JPEG_SCANS:
        raise SampleError(
            f"sample {key!r}: the JPEG has {scans:,} scans, more than {MAX_JPEG_SCANS}",
            key=key,
            reason="too_large",
        )
    try:
        with pil.open(BytesIO(data), formats=[kind]) as image:
            return to_rgb(image, key=key, max_pixels=max_pixels)
    except SampleError:
        raise
    except (pil.DecompressionBombError, pil.DecompressionBombWarning, MemoryError) as error:
        raise SampleError(
            f"sample {key!r}: the picture is too large: {error}", key=key, reason="too_large"
        ) from error
    # Pillow's parsers raise OSError, SyntaxError, struct.error, ValueError, IndexError and more.
    except Exception as error:
        raise SampleError(
            f"sample {key!r}: the picture cannot be decoded: {error}",
            key=key,
            reason="unreadable_image",
        ) from error


def to_rgb(image: Image.Image, *, key: str = "", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return a Pillow image as a new RGB image: upright, transparency over white.

    16-bit grey is scaled to 8 bits; 32-bit integers and floats by their own range, as such
    pictures name no white.
    """
    width, height = image.size
    if width * height > max_pixels:
        raise SampleError(
            f"sample {key!r}: the picture has {width} x {height} pixels, more than "
            f"{max_pixels:,}; raise max_pixels if it is genuine",
            key=key,
            reason="too_large",
        )
    image.load()
    upright = _turn_upright(image)
    if upright.mode.startswith("I;16"):
        upright = _scale_grey(upright, low=0.0, high=65535.0)
    elif upright.mode in ("I", "F"):
        # Pillow before 11 opens 16-bit PNG as "I".
        upright = _scale_grey(upright, high=65535.0 if image.format == "PNG" else None)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        result = _pillow().new("RGB", layer.size, (255, 255, 255))
        result.paste(layer, mask=layer.getchannel("A"))
    else:
        result = upright.convert("RGB")
    # Profiles, EXIF and text would travel from worker to trainer for nothing.
    result.info = {}
    return result


def _turn_upright(image: Image.Image) -> Image.Image:
    pil = _pillow()
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:
        # A picture with damaged metadata is still a picture.
        return image
    turns = {
        2: pil.Transpose.FLIP_LEFT_RIGHT,
        3: pil.Transpose.ROTATE_180,
        4: pil.Transpose.FLIP_TOP_BOTTOM,
        5: pil.Transpose.TRANSPOSE,
        6: pil.Transpose.ROTATE_270,
        7: pil.Transpose.TRANSVERSE,
        8: pil.Transpose.ROTATE_90,
    }
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _scale_grey(
    image: Image.Image, *, low: float | None = None, high: float | None = None
) -> Image.Image:
    values = np.asarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("its pixels are not all finite")
    floor = float(values.min()) if high is None else (low or 0.0)
    ceiling = float(values.max()) if high is None else high
    span = ceiling - floor or 1.0
    scaled = np.clip((values - floor) * (255.0 / span) + 0.5, 0.0, 255.0)
    return _pillow().fromarray(scaled.astype(np.uint8))


def _pillow() -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        from helip.common.errors import UnsupportedError

        raise UnsupportedError(
            "reading pictures needs Pillow; run: pip install helip[data]"
        ) from error
    return Image
