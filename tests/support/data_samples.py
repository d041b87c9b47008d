"""Small captioned pictures, written in every format that the data tests open."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def picture(number: int, size: tuple[int, int] = (9, 6)) -> Image.Image:
    """A picture of noise that no other number gives."""
    width, height = size
    noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(number: int) -> bytes:
    return encoded(picture(number))


def caption(number: int) -> str:
    return f"a small picture, number {number} – mostly noise"


def pixels(image: Image.Image) -> np.ndarray:
    assert image.mode == "RGB"
    return np.asarray(image)


def assert_row_is(data, row: int, number: int) -> None:
    """The row gives what ``picture`` and ``caption`` gave for the number."""
    sample = data[row]
    assert sample["key"] == data.keys[row]
    assert sample["index"] == row
    assert sample["text"] == data.caption(row) == caption(number)
    np.testing.assert_array_equal(pixels(sample["image"]), pixels(picture(number)))
    np.testing.assert_array_equal(pixels(data.image(row)), pixels(picture(number)))


def write_tar(path: Path, members: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> Path:
    """A tar file with the members in the given order; names may repeat in a list."""
    pairs = members.items() if isinstance(members, Mapping) else members
    with tarfile.open(path, "w") as archive:
        for name, data in pairs:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_shards(folder: Path, *, shards: int = 4, rows: int = 5) -> Path:
    """A new folder of shards 0.tar, …, each with so many of the samples 0, 1, …."""
    folder.mkdir()
    for shard in range(shards):
        write_shard(folder / f"{shard}.tar", range(rows * shard, rows * (shard + 1)))
    return folder


def write_shard(path: Path, numbers: Iterable[int]) -> Path:
    """A webdataset shard of a .png and a .txt a sample, with keys of five digits."""
    members = {}
    for number in numbers:
        members[f"{number:05d}.png"] = png(number)
        members[f"{number:05d}.txt"] = caption(number).encode()
    return write_tar(path, members)


def write_pictures(folder: Path, numbers: Iterable[int]) -> list[str]:
    """PNG files of five digits; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number in numbers:
        names.append(f"{number:05d}.png")
        (folder / names[-1]).write_bytes(png(number))
    return names
