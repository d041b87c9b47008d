"""Damaged, hostile and unusual pictures: an error of that sample, or the pixels of Pillow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from helip.common.errors import SampleError
from helip.data.decoding import decode_image
from helip.data.image_transform import ImageTransform
from support.data_samples import encoded
from support.picture_samples import PIXELS, off, photograph, reason_of, whole


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_never_half_a_picture(kind):
    image = photograph(160, 120)
    options = {"progressive": True} if kind == "JPEG" else {}
    for data in (encoded(image, kind), encoded(image, kind, **options)):
        transform = ImageTransform(size=32)
        for length in range(0, len(data) - 3, 97):
            assert reason_of(data[:length]) == "unreadable_image"
        assert transform.from_bytes(data).shape == (3, 32, 32)


def test_a_jpeg_whose_middle_is_missing_is_unreadable_where_it_is_needed():
    data = encoded(photograph(160, 120), "JPEG")
    half = len(data) // 2
    # It ends as a JPEG ends.
    assert reason_of(data[:half] + b"\xff\xd9", scale=(1.0, 1.0)) == "unreadable_image"


def test_bytes_after_the_end_are_passed_over():
    data = encoded(photograph(160, 120), "JPEG")
    for rest in (b"\0" * 40, b"\n", b"some trailer" * 20, data):
        assert off(whole(data + rest), whole(data)) == 0
    png = encoded(photograph(160, 120), "PNG")
    assert off(whole(png + b"rest"), whole(png)) == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_picture_decodes_or_is_a_sample_error(kind):
    data = encoded(photograph(48, 40), kind)
    random = np.random.default_rng(0)
    transform = ImageTransform(size=16, max_pixels=1 << 20)
    outcomes = set()
    for row in range(400):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[random.integers(len(damaged))] = random.integers(256)
        try:
            transform._core.apply(bytes(damaged), seed=0, epoch=0, row=row, view=0)
            outcomes.add("decoded")
        except SampleError as error:
            outcomes.add(error.reason)
    assert outcomes <= {"decoded", "unreadable_image", "too_large", "unsupported_format"}
    assert {"decoded", "unreadable_image"} <= outcomes or kind == "PNG"


@pytest.mark.parametrize("data", [b"", b"\0" * 64, b"<svg/>", b"\xff\xd8\xff", b"RIFFxxxxWEBP"])
def test_what_is_no_picture_is_unreadable(data):
    assert reason_of(data) == "unreadable_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_too_many_pixels_or_bytes_are_refused(kind):
    data = encoded(photograph(64, 64), kind)
    expected = "too_large" if kind in ("JPEG", "PNG", "WEBP") else "unsupported_format"
    assert reason_of(data, max_pixels=64 * 64 - 1) == expected
    assert reason_of(data, max_bytes=len(data) - 1) == "too_large"
    with pytest.raises(SampleError, match="pixels"):
        ImageTransform(size=8, max_pixels=64 * 64 - 1).from_bytes(data)


def test_a_bomb_is_refused_before_it_unpacks():
    import struct
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 10_000_000)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )
    assert reason_of(bomb) == "too_large"
    # A profile of 200 MB, which nobody reads.
    profile = b"p\0\0" + zlib.compress(b"\0" * 200_000_000, 9)
    png = encoded(photograph(8, 8), "PNG")
    with_profile = png[:33] + chunk(b"iCCP", profile) + png[33:]
    transform = ImageTransform(size=8, crop="squash", **PIXELS)
    assert off(transform.from_bytes(with_profile), whole(png)) == 0


def test_a_jpeg_of_a_thousand_scans_is_refused():
    data = encoded(photograph(32, 32), "JPEG", progressive=True)
    # The first scan, which may come again.
    start = data.index(b"\xff\xda")
    end = data.index(b"\xff\xc4", start)
    assert reason_of(data[:end] + data[start:end] * 1000 + data[end:]) == "too_large"
    few = data[:end] + data[start:end] * 3 + data[end:]
    assert off(whole(few), whole(data)) == 0


def test_what_pillow_alone_reads_is_read_by_pillow():
    image = photograph(40, 30)
    transform = ImageTransform(size=(30, 40), crop="squash", **PIXELS)
    frames = [image, Image.new("RGB", (40, 30))]
    animated = io.BytesIO()
    frames[0].save(animated, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    deep = Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)
    for data in (
        encoded(image, "GIF"),
        encoded(image, "BMP"),
        encoded(image, "TIFF"),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(deep, "PNG"),
        animated.getvalue(),
    ):
        assert reason_of(data) == "unsupported_format"
        assert off(transform.from_bytes(data), decode_image(data)) == 0


def test_a_name_says_nothing(tmp_path: Path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(encoded(photograph(40, 30), "PNG"))
    transform = ImageTransform(size=(30, 40), crop="squash", **PIXELS)
    assert off(transform.from_bytes(path.read_bytes()), photograph(40, 30)) == 0


def test_interlaced_png_is_read():
    # Pillow writes none; this is the picture of an 8 x 8 gradient in Adam7 order.
    import struct
    import zlib

    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    rows = b""
    for top, left, down, across in (
        (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
        (1, 0, 2, 1),
    ):  # fmt: skip
        for row in pixels[top::down, left::across]:
            rows += b"\0" + row.tobytes()
    png = b"\x89PNG\r\n\x1a\n"
    for name, body in (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ):
        png += (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )
    assert off(decode_image(png), np.repeat(pixels[..., None], 3, axis=2)) == 0
    assert off(whole(png), decode_image(png)) == 0


def test_upright_by_pillow_is_upright_here():
    exif = Image.Exif()
    exif[0x0112] = 8
    data = encoded(photograph(30, 20), "PNG", exif=exif.tobytes())
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert off(whole(data), upright) == 0
