"""A picture that takes too long to decode is one failed sample, and is given up before its end."""

from __future__ import annotations

import io
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helip
from helip.common.errors import Error, InvalidArgumentError, SampleError
from helip.data.decoding import decode_image, time_limit
from helip.data.image_transform import ImageTransform
from helip.loading.loader import HardPairLoader
from helip.pairs.hard_pairs import HardPairs
from support.embed_samples import run

AT_ONCE = 1e-9  # no picture is decoded in so many seconds, on any machine
OPTIONS = {
    "JPEG": {},
    "progressive": {"progressive": True},
    "PNG": {},
    "WEBP": {},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
}


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


def encoded(kind: str, image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG" if kind == "progressive" else kind, **OPTIONS[kind] | options)
    return file.getvalue()


def many_scans(image: Image.Image, scans: int) -> bytes:
    """A progressive JPEG whose first scan, of the means of the blocks, comes so often more."""
    data = encoded("progressive", image)
    start = data.index(b"\xff\xda")
    end = start + 2
    while data[end] != 0xFF or data[end + 1] == 0:
        end += 1
    return data[:end] + data[start:end] * scans + data[end:]


def outcome(data: bytes, seconds: float, **options) -> str:
    transform = ImageTransform(size=16, scale=(1.0, 1.0), max_seconds=seconds, **options)
    try:
        transform.from_bytes(data)
    except SampleError as error:
        return error.reason
    return "decoded"


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_format_has_the_limit(kind):
    data = encoded(kind, noise(40, 30))
    assert outcome(data, AT_ONCE) == "too_slow"
    assert outcome(data, math.inf) == "decoded"
    assert outcome(data, 10.0) == "decoded"
    with pytest.raises(SampleError) as caught:
        decode_image(data, key="a", max_seconds=AT_ONCE)
    assert (caught.value.key, caught.value.reason) == ("a", "too_slow")
    assert decode_image(data, max_seconds=math.inf).size == (40, 30)


def test_a_jpeg_of_many_scans_is_given_up_before_its_end():
    data = many_scans(noise(300, 200), 80)
    assert outcome(data, math.inf) == "decoded"
    # What is read to where it was cut is unreadable.
    assert outcome(data[:-4000], math.inf) == "unreadable_image"
    assert outcome(data[:-4000], AT_ONCE) == "too_slow"


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_is_given_up_before_its_end(interlaced):
    data = encoded("PNG", noise(300, 200))
    if interlaced:  # Pillow writes none; the flag alone makes the rows wrong, and more of them
        header = data[12:28] + b"\x01"
        data = data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]
    cut = data[: len(data) // 2]
    assert outcome(cut, math.inf) == "unreadable_image"
    assert outcome(cut, AT_ONCE) == "too_slow"


def test_a_decoder_goes_on_with_the_next_picture():
    data = encoded("progressive", noise(40, 30))
    whole = ImageTransform.eval(size=16)
    expected = whole.from_bytes(data)
    for _ in range(3):
        assert outcome(data, AT_ONCE) == "too_slow"
        assert (whole.from_bytes(data) == expected).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_a_large_webp_is_decoded_in_parts_to_the_same_pixels(mode, lossless):
    image = noise(300, 225).resize((2400, 1800), Image.Resampling.BICUBIC)
    if mode == "RGBA":
        image.putalpha(noise(2400, 1800).getchannel(0))
    data = encoded("WEBP", image, lossless=lossless, method=0)
    expected = np.asarray(decode_image(data)).astype(int)
    plain = {"dtype": "uint8", "layout": "nhwc"}
    whole = ImageTransform(size=(1800, 2400), crop="squash", **plain).from_bytes(data).numpy()
    assert np.array_equal(whole, expected)
    part = ImageTransform.eval(size=64, resize=1800, **plain).from_bytes(data).numpy()
    assert np.array_equal(part, expected[868:932, 1168:1232])
    assert outcome(data, AT_ONCE) == "too_slow"


def test_the_message_gives_the_time_the_limit_and_the_mend():
    data = encoded("JPEG", noise(40, 30))
    for decode in (
        lambda: ImageTransform(max_seconds=1e-6).from_bytes(data),
        lambda: decode_image(data, max_seconds=1e-6),
    ):
        pattern = r"still not decoded after .+ s, more than 1e-06 s; raise max_seconds"
        with pytest.raises(SampleError, match=pattern):
            decode()


def test_the_limit_of_time_leaves_other_errors_as_they_are():
    with pytest.raises(ZeroDivisionError), time_limit(AT_ONCE):
        raise ZeroDivisionError


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_the_limit_must_be_above_0(tmp_path, value):
    with pytest.raises(InvalidArgumentError, match="max_seconds is"):
        ImageTransform(max_seconds=value)
    with pytest.raises(InvalidArgumentError, match="max_seconds"):
        helip.open_dataset(tmp_path, max_seconds=value)


def write_folder(folder: Path) -> Path:
    for row, kind in enumerate(OPTIONS):
        (folder / f"{row:03d}.jpg").write_bytes(encoded(kind, noise(40, 30)))
        (folder / f"{row:03d}.txt").write_text(f"caption {row}")
    return folder


@pytest.mark.parametrize("subset", [False, True])
def test_a_loader_quarantines_such_pictures_by_the_limit_of_the_data(tmp_path, subset):
    data = helip.open_dataset(write_folder(tmp_path), progress=False, max_seconds=AT_ONCE)
    if subset:
        data = data.subset(range(len(data)))
    rows = len(data)
    ids = ((np.arange(rows)[:, None] + 1) % rows).astype(np.int32)
    pairs = HardPairs.from_arrays(ids, np.ones((rows, 1), np.float32), np.ones(rows, np.int32))
    loader = HardPairLoader(
        data,
        pairs,
        batch_size=8,
        transform=ImageTransform.eval(size=16),
        hard_per_target=0,
        max_quarantined=1.0,
    )
    # A batch without rows is none.
    with pytest.raises(
        Error, match=rf"too_slow: {rows}\).*sample '000' \(row 0\): the picture was"
    ):
        list(loader)
    assert loader.stats()["quarantined"] == {"too_slow": rows}


def test_embed_quarantines_such_pictures(tmp_path):
    (tmp_path / "d").mkdir()
    folder = write_folder(tmp_path / "d")
    data = helip.open_dataset(folder, progress=False, max_seconds=AT_ONCE)
    store = run(data, tmp_path / "s", max_quarantined=1.0)
    assert store.metadata["quarantined"] == {"too_slow": len(data)}


def test_a_picture_that_a_data_set_decodes_itself_has_the_limit():
    class Items:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, row: int):
            return noise(40, 30), "caption"

    assert helip.open_dataset(Items()).image(0).size == (40, 30)
    with pytest.raises(SampleError) as caught:
        helip.open_dataset(Items(), max_seconds=AT_ONCE).image(0)
    assert (caught.value.reason, caught.value.key) == ("too_slow", "000000000")
