"""Pictures for bench/loader.py, made at run time from photographs that packages carry.

Sources are the colour photographs of scikit-image (``skimage/data``), scikit-learn (``china.jpg``,
``flower.jpg``) and matplotlib (``grace_hopper.jpg``): whichever of them are installed, a dozen in
all. A picture is a crop of one of them, of four fifths of it or more for a shorter side of 500 px,
mirrored at random, a little brighter or darker, resized by Lanczos' filter to a shorter side within
8 % of what was asked for, and saved as a JPEG of quality 85 to 90 with 4:2:0 chroma, as a PNG or as
a WebP of quality 80. So edges, textures and noise are those of photographs, and a JPEG of 500 px
takes 50 to 100 KB. Beyond about 1,000 px most sources are enlarged, and smoother than a camera's.

The same pictures lie there twice: as tar shards, and as files with the table that open_clip's CSV
loader reads, for loaders that cannot read tars at random.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from helip.common.machine import usable_processors

PHOTOGRAPHS = {
    "skimage": [
        f"data/{name}" for name in (
            "astronaut.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg", "ihc.png",
            "motorcycle_left.png", "motorcycle_right.png", "retina.jpg", "rocket.jpg",
        )
    ],
    "sklearn": ["datasets/images/china.jpg", "datasets/images/flower.jpg"],
    "matplotlib": ["mpl-data/sample_data/grace_hopper.jpg"],
}  # fmt: skip
ASPECTS = (1.0, 4 / 3, 3 / 2, 3 / 4, 2 / 3)
SHARD_ROWS = 512
SUFFIXES = {"jpeg": "jpg", "png": "png", "webp": "webp"}
WORDS = (
    "a",
    "bright",
    "dark",
    "small",
    "large",
    "red",
    "green",
    "old",
    "cat",
    "dog",
    "star",
    "cup",
)


@dataclass(frozen=True)
class Pictures:
    """A folder of pictures: ``*.tar`` in ``shards``, the files and ``pictures.csv``."""

    folder: Path
    shards: list[str]
    table: Path  # tab-separated: filepath, caption
    about: dict[str, Any]  # rows, format, mean_bytes, sources

    @property
    def suffix(self) -> str:
        return SUFFIXES[self.about["format"]]

    @property
    def files(self) -> list[str]:
        return [str(path) for path in sorted((self.folder / "files").glob(f"*.{self.suffix}"))]

    @property
    def captions(self) -> list[str]:
        return [line.split("\t")[1] for line in self.table.read_text().splitlines()[1:]]


def pictures_of(cache: Path, size: int, rows: int, format: str = "jpeg") -> Pictures:
    """Made on first use: whole or not at all."""
    folder = cache / f"pictures-{format}-{size}-{rows}"
    if not folder.exists():
        _publish(folder, size, rows, format)
    about = json.loads((folder / "about.json").read_text())
    shards = [str(path) for path in sorted((folder / "shards").glob("*.tar"))]
    return Pictures(folder, shards, folder / "pictures.csv", about)


def photographs() -> dict[str, Image.Image]:
    """Those that are installed, by package and name."""
    found = {}
    for package, paths in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            for path in paths:
                if (Path(root) / path).exists():
                    with Image.open(Path(root) / path) as picture:
                        found[f"{package}/{Path(path).name}"] = picture.convert("RGB")
    if not found:
        raise RuntimeError("there is no photograph: pip install scikit-image or scikit-learn")
    return found


def encoded(sources: list[Image.Image], number: int, size: int, format: str = "jpeg") -> bytes:
    """Picture ``number``: the same bytes whatever else is made."""
    random = np.random.default_rng([size, number])
    source = sources[number % len(sources)]
    aspect = ASPECTS[random.integers(len(ASPECTS))]
    shorter = round(size * random.uniform(0.92, 1.08))
    width, height = (round(shorter * max(aspect, 1)), round(shorter * max(1 / aspect, 1)))
    # The largest crop of this aspect, and a random part of it: a small picture may show a detail.
    fit = min(source.width / width, source.height / height)
    least = 0.8 if size > 300 else max(0.5, min(1.0, 1 / fit))
    scale = fit * random.uniform(least, 1.0)
    left = random.uniform(0, source.width - scale * width)
    top = random.uniform(0, source.height - scale * height)
    box = (left, top, left + scale * width, top + scale * height)
    picture = source.resize((width, height), Image.Resampling.LANCZOS, box)
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = ImageEnhance.Brightness(picture).enhance(random.uniform(0.85, 1.15))
    buffer = io.BytesIO()
    quality = int(random.integers(85, 91))
    if format == "jpeg":
        picture.save(buffer, "JPEG", quality=quality)
    elif format == "webp":
        picture.save(buffer, "WEBP", quality=80, method=2)
    else:
        picture.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def caption(number: int) -> str:
    random = np.random.default_rng([1, number])
    return " ".join(random.choice(WORDS, size=random.integers(5, 15)))


def hard_pairs(rows: int, k: int = 20, cluster: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """ids [rows, k] int32 and scores: rows of one cluster, which lie anywhere in the shards."""
    random = np.random.default_rng([2, rows])  # of no one's order of targets
    k = min(k, max(1, min(cluster, rows) - 1))
    places = random.permutation(rows)
    ids = np.full((rows, k), -1, np.int32)
    for first in range(0, rows, cluster):
        group = places[first : first + cluster]
        for row in group:
            others = group[group != row]
            pool = random.permutation(others)[:k]
            ids[row, : len(pool)] = pool
    scores = np.where(ids >= 0, np.linspace(0.9, 0.1, k, dtype=np.float32), 0)
    return ids, scores.astype(np.float32)


def _publish(folder: Path, size: int, rows: int, format: str) -> None:
    suffix = SUFFIXES[format]
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        sources = photographs()
        (staging / "files").mkdir()
        (staging / "shards").mkdir()
        total = 0
        with (staging / "pictures.csv").open("w", newline="") as table:
            lines = csv.writer(table, delimiter="\t")
            lines.writerow(["filepath", "title"])
            archive = None
            for number, data in _made(list(sources.values()), rows, size, format):
                if number % SHARD_ROWS == 0:
                    if archive is not None:
                        archive.close()
                    archive = tarfile.open(  # noqa: SIM115
                        staging / "shards" / f"{number // SHARD_ROWS:05d}.tar", "w"
                    )
                assert archive is not None
                key, text = f"{number:08d}", caption(number)
                for name, body in ((f"{key}.{suffix}", data), (f"{key}.txt", text.encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(body)
                    archive.addfile(info, io.BytesIO(body))
                (staging / "files" / f"{key}.{suffix}").write_bytes(data)
                lines.writerow([folder.absolute() / "files" / f"{key}.{suffix}", text])
                total += len(data)
            if archive is not None:
                archive.close()
        about = {
            "rows": rows,
            "format": format,
            "shorter_side": size,
            "mean_bytes": round(total / max(rows, 1)),
            "sources": sorted(sources),
        }
        (staging / "about.json").write_text(json.dumps(about) + "\n")
        try:
            os.rename(staging, folder)
        except OSError:
            if not folder.exists():  # else another one was first
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _made(
    sources: list[Image.Image], rows: int, size: int, format: str
) -> Iterator[tuple[int, bytes]]:
    # Resizing and encoding release the interpreter's lock.
    with ThreadPoolExecutor(usable_processors()) as pool:
        for first in range(0, rows, 64):
            block = range(first, min(first + 64, rows))
            yield from zip(
                block, pool.map(lambda n: encoded(sources, n, size, format), block), strict=True
            )
