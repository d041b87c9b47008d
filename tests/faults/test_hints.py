"""What the system is told before tar shards are read: the calls themselves, as strace sees them."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import helip

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")

ROWS = 90  # more than the loader tells of at a time
BETWEEN = 70_000  # bytes between samples: more than what is read along
PROGRAM = """
import sys
import numpy as np, torch
import helip

what, shard = sys.argv[1:]
data = helip.open_dataset(shard, progress=False)  # reads all headers
transform = helip.ImageTransform.eval(size=16)
if what == "rows":
    for row in range(len(data)):
        data[row]
else:
    options = dict(transform=transform) if what == "threads" else {}
    loader = helip.HardPairLoader(
        data, None, batch_size=45, hard_per_target=0, workers=1, **options)
    assert sum(len(batch["index"]) for batch in loader) == len(data)
"""


@pytest.fixture(scope="module")
def shard(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("shard") / "a.tar"
    pixels = io.BytesIO()
    Image.fromarray(np.zeros((20, 20, 3), dtype=np.uint8)).save(pixels, "JPEG")
    with tarfile.open(path, "w") as tar:
        for row in range(ROWS):
            members = (("jpg", pixels.getvalue()), ("txt", b"text"), ("rest", bytes(BETWEEN)))
            for end, data in members:
                info = tarfile.TarInfo(f"{row:03d}.{end}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def calls_on(shard: Path, what: str, calls: str, trace: Path) -> list[str]:
    subprocess.run(
        ["strace", "-f", "-qq", "-o", trace, "-P", shard, "-e", f"trace={calls}",
         sys.executable, "-c", PROGRAM, what, shard],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return trace.read_text().splitlines()


def ranges(lines: list[str]) -> list[tuple[int, int]]:
    """Offset and bytes of each fetch that the system was asked for."""
    found = [
        re.search(r"fadvise64\(\d+, (\d+), (\d+), POSIX_FADV_WILLNEED", line) for line in lines
    ]
    return [(int(match[1]), int(match[2])) for match in found if match]


@pytest.mark.parametrize("what", ["threads", "processes"])
def test_a_sample_is_one_fetch_which_comes_before_its_caption_is_read(what, shard, tmp_path):
    index = helip.SampleIndex.build([shard], progress=False)
    samples = {}  # by the place of the caption
    for row in range(ROWS):
        image, text = index.member(row, "image"), index.member(row, "text")
        samples[text.offset] = (image.offset, text.offset + text.bytes - image.offset)
    lines = calls_on(shard, what, "fadvise64,pread64", tmp_path / "trace")
    assert set(ranges(lines)) == set(samples.values())
    fetched: set[tuple[int, int]] = set()
    captions = 0
    for line in lines:
        fetched |= set(ranges([line]))
        read = re.search(r"pread64\(\d+, .*, \d+, (\d+)", line)
        if read and int(read[1]) in samples:
            captions += 1
            assert samples[int(read[1])] in fetched
    assert captions >= ROWS / 2  # strace may part a call into two lines


def test_who_tells_what_it_reads_turns_off_the_guesses_of_the_system(shard, tmp_path):
    lines = calls_on(shard, "threads", "fadvise64", tmp_path / "trace")
    assert "POSIX_FADV_RANDOM" in lines[0]


def test_headers_and_rows_in_sequence_are_left_to_the_guesses_of_the_system(shard, tmp_path):
    assert calls_on(shard, "rows", "fadvise64", tmp_path / "trace") == []
