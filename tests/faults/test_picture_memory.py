"""What a picture takes of memory is bounded by `max_pixels`, whatever its file says and holds."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIDE = 2000
#: Bytes a pixel that may be taken at once: a PNG of 16 bits with alpha has eight, and is made RGB;
#: a progressive JPEG has three coefficients of 16 bits.
BYTES_A_PIXEL = 16
BESIDE = 24 << 20

READ = """
import sys
from pathlib import Path
from helip.common.errors import SampleError
from helip.data.image_transform import ImageTransform

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))

transform = ImageTransform(size=64, max_pixels=int(sys.argv[2]))
transform.from_bytes(Path(sys.argv[3]).read_bytes())
data = Path(sys.argv[1]).read_bytes()
Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
before = peak()
try:
    transform.from_bytes(data)
    told = "read"
except SampleError as error:
    told = error.reason
print(told, peak() - before)
"""


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *, interlaced: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, len(mode)), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise, mode).save(buffer, kind, **options)
    return buffer.getvalue()


def rows_of(bytes_a_row: int, count: int) -> bytes:
    return (b"\0" + b"\x80" * bytes_a_row) * count


PICTURES = {
    "a JPEG": lambda: encoded("JPEG"),
    "a progressive JPEG": lambda: encoded("JPEG", progressive=True, subsampling=0),
    "a PNG with alpha": lambda: encoded("PNG", "RGBA", compress_level=1),
    "a PNG of 16 bits with alpha": lambda: png(
        SIDE, SIDE, 16, 6, rows_of(8 * SIDE, SIDE), interlaced=0
    ),
    "a WebP without loss": lambda: encoded("WEBP", "RGBA", lossless=True, method=0, quality=0),
    "a WebP": lambda: encoded("WEBP", method=0),
    # Refused before anything is unpacked.
    "a PNG of 3.6 billion pixels": lambda: png(
        60_000, 60_000, 8, 2, rows_of(10_000_000, 1), interlaced=0
    ),
    "an interlaced PNG of 3.6 billion pixels": lambda: png(
        60_000, 60_000, 16, 6, rows_of(10_000_000, 1), interlaced=1
    ),
    "a row of 2 billion pixels": lambda: png(
        2_000_000_000, 1, 1, 0, rows_of(10_000_000, 1), interlaced=0
    ),
    "a profile of 200 MB": lambda: profiled(),
}


def profiled() -> bytes:
    whole = png(8, 8, 8, 2, rows_of(24, 8), interlaced=0)
    profile = chunk(b"iCCP", b"p\0\0" + zlib.compress(b"\0" * 200_000_000, 9))
    return whole[:33] + profile + whole[33:]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="takes Linux")
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_takes_no_more_memory_than_its_bound(tmp_path: Path, name: str) -> None:
    file, small = tmp_path / "picture", tmp_path / "small"
    file.write_bytes(PICTURES[name]())
    small.write_bytes(png(8, 8, 8, 2, rows_of(24, 8), interlaced=0))
    pixels = SIDE * SIDE
    done = subprocess.run(
        [sys.executable, "-c", READ, file, str(pixels), small], text=True, check=True,
        capture_output=True,
    )  # fmt: skip
    told, taken = done.stdout.split()
    huge = "billion" in name
    assert told == ("too_large" if huge else "read")
    assert int(taken) <= BESIDE + (0 if huge or "profile" in name else BYTES_A_PIXEL * pixels)
    print(name, f"{int(taken) >> 20} MiB")
