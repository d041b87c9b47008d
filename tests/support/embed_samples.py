"""A data set of numbered pictures, and encoders that read the number back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helip.common.errors import SampleError
from helip.data.dataset import Dataset
from helip.encoders.embedding import embed
from helip.store.embedding_store import EmbeddingStore

SHARD = 4096
LARGE = SHARD + 1700  # two shards
DIM_IMAGE, DIM_TEXT = 4, 3


class Numbered(Dataset):
    """Row i is a 4 x 4 picture of the colour (i, 2i, 3i) mod 251 with the caption "i"."""

    def __init__(self, rows: int, bad: dict[int, str] | None = None, prefix: str = "k") -> None:
        self._keys = [f"{prefix}{row}" for row in range(rows)]
        self.bad = bad or {}
        self.stop_at: int | None = None
        self.read: list[int] = []

    @property
    def keys(self) -> list[str]:
        return self._keys

    def _read_image(self, row: int) -> Image.Image:
        self.read.append(row)
        if row == self.stop_at:
            raise KeyboardInterrupt
        if row in self.bad:
            reason = self.bad[row]
            if reason == "broken":
                raise RuntimeError("the shelf fell down")
            if reason == "wide":
                return Image.new("RGB", (2000, 2))
            raise SampleError(f"row {row} is bad", key=self._keys[row], reason=reason)
        return Image.new("RGB", (4, 4), (row % 251, 2 * row % 251, 3 * row % 251))

    def _read_caption(self, row: int) -> str:
        return str(row)


class Colours:
    """An image encoder of one's own: the mean colour and a one."""

    spec = "own:colours"
    dim = DIM_IMAGE

    def __init__(self, poison: int | None = None, value: float = float("nan")) -> None:
        self.poison, self.value = poison, value

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([images.mean((2, 3)), torch.ones(len(images), 1)], dim=1)
        if self.poison is not None:
            rows[rows[:, 0] == self.poison % 251] = self.value
        return rows


class Numbers:
    """A text encoder of one's own: digits of the number."""

    spec = "own:numbers"
    dim = DIM_TEXT

    def encode(self, texts: list[str]) -> torch.Tensor:
        numbers = torch.tensor([int(text) for text in texts])
        return torch.stack([numbers % 10, numbers // 10 % 10, numbers // 100], dim=1).float()


def run(data, out: Path, **options) -> EmbeddingStore:
    given = {
        "image_encoder": Colours(),
        "text_encoder": Numbers(),
        "shard_rows": SHARD,
        "batch_size": 300,
        "dtype": "float32",
        "progress": False,
        **options,
    }
    return embed(data, out=out, **given)


def files_of(path: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in path.iterdir() if entry.name != ".lock"}


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "quarantine.jsonl").read_text().splitlines()]


BAD = {
    0: "missing_caption",
    7: "unreadable_image",
    299: "unreadable_image",
    SHARD - 1: "io",
    SHARD: "io",
    LARGE - 1: "missing_image",
}


def interrupt(data: Numbered, out: Path, row: int, **options) -> None:
    data.stop_at = row
    with pytest.raises(KeyboardInterrupt):
        run(data, out, **options)
    data.stop_at = None
    data.read.clear()
