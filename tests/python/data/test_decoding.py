"""Decoding: formats, modes, orientation, and what hostile pictures get."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from helip.common.errors import SampleError
from helip.data.decoding import decode_image, to_rgb
from support.data_samples import encoded, picture, pixels


def reason_of(data: bytes, **options) -> str:
    with pytest.raises(SampleError) as caught:
        decode_image(data, key="k", **options)
    assert caught.value.key == "k"
    assert "'k'" in str(caught.value)
    return caught.value.reason


def outcome(data: bytes, **options) -> str:
    """The reason of the error, or "decoded"."""
    try:
        assert decode_image(data, **options).mode == "RGB"
    except SampleError as error:
        return error.reason
    return "decoded"


@pytest.mark.parametrize("kind", ["PNG", "PPM", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_the_written_pixels(kind):
    data = encoded(picture(1), kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(pixels(decode_image(data)), pixels(picture(1)))


@pytest.mark.parametrize("kind", ["JPEG", "GIF"])
def test_lossy_formats_give_about_the_written_colour(kind):
    data = encoded(Image.new("RGB", (16, 16), (200, 40, 90)), kind)
    assert np.abs(pixels(decode_image(data)).astype(int) - (200, 40, 90)).max() < 5


@pytest.mark.parametrize("kind", ["ICO", "EPS", "PDF", "TGA", "JPEG2000"])
def test_other_formats_are_refused(kind):
    assert reason_of(encoded(picture(1, (16, 16)), kind)) == "unreadable_image"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 64,
        b"P5 1 1 255\nx",
        b"P3 1 1 255\n1 2 3",
        b"<svg/>",
        b"\xff\xd8\xff",
        b"RIFFxxxxWEBP",
    ],
)
def test_what_is_no_picture_is_unreadable(data):
    assert reason_of(data) == "unreadable_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_truncated_picture_is_unreadable(kind):
    data = encoded(picture(3, (64, 64)), kind)
    for length in (len(data) // 8, len(data) // 2, len(data) * 3 // 4):
        assert reason_of(data[:length]) == "unreadable_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_picture_decodes_or_is_a_sample_error(kind):
    data = encoded(picture(3, (16, 16)), kind)
    random = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[random.integers(len(damaged))] = random.integers(256)
        assert outcome(bytes(damaged), max_pixels=1 << 20) in (
            "decoded",
            "unreadable_image",
            "too_large",
        )


def test_transparency_lies_over_white():
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    assert pixels(decode_image(encoded(image))).tolist() == [[[255, 255, 255], [255, 0, 0]]]
    half = Image.new("LA", (1, 1), (0, 128))
    assert abs(int(pixels(decode_image(encoded(half)))[0, 0, 0]) - 127) <= 1


def test_a_transparent_palette_entry_is_white():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([9, 9, 9, 0, 255, 0])
    image.putpixel((1, 0), 1)
    data = encoded(image, "PNG", transparency=0)
    assert pixels(decode_image(data)).tolist() == [[[255, 255, 255], [0, 255, 0]]]


def test_palette_bilevel_and_grey_become_rgb():
    assert pixels(decode_image(encoded(Image.new("1", (1, 1), 1)))).tolist() == [[[255] * 3]]
    assert pixels(decode_image(encoded(Image.new("L", (1, 1), 77)))).tolist() == [[[77] * 3]]
    palette = picture(5).quantize(4)
    np.testing.assert_array_equal(
        pixels(decode_image(encoded(palette))), np.asarray(palette.convert("RGB"))
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(kind):
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    found = pixels(decode_image(encoded(Image.fromarray(values), kind)))
    np.testing.assert_array_equal(found[..., 0], [[0, 1, 128, 255]])


def test_float_pictures_are_scaled_by_their_range_and_must_be_finite():
    values = np.array([[-2.0, 0.0, 2.0]], dtype=np.float32)
    found = pixels(decode_image(encoded(Image.fromarray(values), "TIFF")))
    np.testing.assert_array_equal(found[..., 0], [[0, 128, 255]])
    values[0, 0] = np.nan
    assert reason_of(encoded(Image.fromarray(values), "TIFF")) == "unreadable_image"


def test_cmyk_keeps_its_colour():
    data = encoded(Image.new("RGB", (8, 8), (250, 10, 10)).convert("CMYK"), "JPEG")
    assert np.abs(pixels(decode_image(data)).astype(int) - (250, 10, 10)).max() < 12


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation, kind):
    # Big blocks of one colour, which JPEG keeps.
    corners = np.zeros((16, 32, 3), dtype=np.uint8)
    corners[:8, :16], corners[:8, 16:], corners[8:, :16] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    options |= {"lossless": True} if kind == "WEBP" else {}
    data = encoded(Image.fromarray(corners), kind, exif=exif.tobytes(), **options)
    turned = {
        1: corners,
        2: corners[:, ::-1],
        3: corners[::-1, ::-1],
        4: corners[::-1],
        5: corners.transpose(1, 0, 2),
        6: np.rot90(corners, -1),
        7: np.rot90(corners.transpose(1, 0, 2), 2),
        8: np.rot90(corners, 1),
    }[orientation]
    found = pixels(decode_image(data)).astype(int)
    assert found.shape == turned.shape
    assert np.abs(found - turned).max() < 40


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_does_not_lose_the_picture():
    data = encoded(picture(1, (16, 16)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode_image(data).size == (16, 16)


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rest = b"".join(chunk(*parts) for parts in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + rest + chunk(b"IEND", b"")


def test_a_bomb_of_pixels_is_too_large_before_anything_is_decoded(monkeypatch):
    limit = Image.MAX_IMAGE_PIXELS
    assert reason_of(png_of(60_000, 60_000, (b"IDAT", b""))) == "too_large"
    assert reason_of(encoded(picture(1)), max_pixels=53) == "too_large"
    assert decode_image(encoded(picture(1)), max_pixels=54).size == (9, 6)
    assert limit == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert reason_of(png_of(60_000, 60_000, (b"IDAT", b""))) == "too_large"


def test_a_bomb_in_a_colour_profile_is_a_sample_error():
    bomb = zlib.compress(b"\0" * (64 << 20))
    pixel = zlib.compress(b"\0\x7f")
    data = png_of(1, 1, (b"iCCP", b"icc\0\0" + bomb), (b"IDAT", pixel))
    assert outcome(data) in ("decoded", "unreadable_image")


def test_a_jpeg_of_a_thousand_scans_is_too_large():
    data = encoded(picture(1, (16, 16)), "JPEG", progressive=True)
    scan = data[data.index(b"\xff\xda") : -2]
    assert reason_of(data[:-2] + scan * 1000 + data[-2:]) == "too_large"


def test_a_decoded_picture_carries_no_metadata_and_no_file():
    data = encoded(picture(1), "PNG", icc_profile=b"x" * 1000)
    image = decode_image(data)
    assert type(image) is Image.Image
    assert image.info == {}


def test_the_source_image_of_a_conversion_is_left_alone():
    image = picture(2)
    image.info["note"] = "kept"
    copy = to_rgb(image)
    copy.putpixel((0, 0), (1, 2, 3))
    assert image.info == {"note": "kept"}
    np.testing.assert_array_equal(pixels(image), pixels(picture(2)))
