"""Pictures a second from a folder whose pictures only Pillow decodes, by the reader of batches.

    python bench/pillow_formats.py

Photographs of a longer side of ``--side`` (see transforms.py) as BMP, TIFF (raw and LZW), GIF and
CMYK JPEG; ``mixed`` is a tenth of such formats among JPEGs, ``JPEG`` the core alone. Three batches
of 64 are on their way at a time. Wall time needs a machine without other work (``chrt -f 10`` in
front takes the processors from it); processor time does not.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transforms
from picture_batches import read_all, ready_reader
from PIL import Image

import helip

JPEG = ("JPEG", {"quality": 90})
WAYS = {
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "TIFF LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "GIF": ("GIF", {}),
    "CMYK JPEG": JPEG,
}


def write(folder: Path, kinds: list[str], side: int, count: int) -> None:
    sources = transforms.encoded(side, 48)
    for row in range(count):
        kind, image = kinds[row % len(kinds)], Image.open(io.BytesIO(sources[row % len(sources)]))
        name, options = WAYS.get(kind, JPEG)
        image = image.convert("CMYK" if kind == "CMYK JPEG" else "RGB")
        image.save(folder / f"{row:05d}.jpg", name, **options)
        (folder / f"{row:05d}.txt").write_text("a photograph")


def measure(folder: Path, threads: int) -> tuple[float, float]:
    """Seconds of the clock and of processors for one epoch."""
    data = helip.open_dataset(folder, progress=False)
    reader = ready_reader(data, threads)
    rows = np.random.default_rng(0).permutation(len(data))
    clock, spent = time.perf_counter(), time.process_time()
    read_all(reader, rows)
    return time.perf_counter() - clock, time.process_time() - spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--side", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    mixed = [kind for other in WAYS for kind in ("JPEG",) * 9 + (other,)]
    for name, kinds in [*((kind, [kind]) for kind in WAYS), ("mixed", mixed), ("JPEG", ["JPEG"])]:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), kinds, arguments.side, arguments.pictures)
            best = min(measure(Path(folder), arguments.threads) for _ in range(arguments.rounds))
        clock, spent = (seconds / arguments.pictures for seconds in best)
        print(f"{name:9} {1 / clock:6,.0f} pictures/s, {1e3 * spent:.2f} ms of processors each")


if __name__ == "__main__":
    main()
