"""A small data set with its table and store, in which it is known what is equal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import helip
from helip.data.dataset import Dataset
from helip.pairs.hard_pairs import HardPairs

ROWS = 96
UNREADABLE = 17  # its picture is damaged


def write_pictures(folder: Path) -> Path:
    """A CSV of noisy colours; captions repeat every 24 rows."""
    (folder / "pictures").mkdir(parents=True)
    lines = ["image,caption"]
    random = np.random.default_rng(0)
    for row in range(ROWS):
        path = folder / "pictures" / f"{row:03}.png"
        base = random.integers(0, 256, 3)
        noise = random.integers(-30, 31, (20, 20, 3))
        Image.fromarray(np.clip(base + noise, 0, 255).astype(np.uint8)).save(path)
        lines.append(f"pictures/{path.name},picture {row % 24}")
    (folder / "pictures" / f"{UNREADABLE:03}.png").write_bytes(b"no picture")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder / "data.csv"


def write_store(data: Dataset, path: Path) -> helip.EmbeddingStore:
    random = np.random.default_rng(1)
    with helip.EmbeddingStore.create(path, image_dim=8, text_dim=6) as writer:
        rows = random.normal(size=(len(data), 14)) + 0.6
        writer.append(list(data.keys), rows[:, :8], rows[:, 8:])
    return helip.EmbeddingStore.open(path)


def table(rows: int = ROWS, k: int = 40, seed: int = 0) -> HardPairs:
    """Random pools with falling scores."""
    random = np.random.default_rng(seed)
    ids = np.stack([
        random.permutation(np.delete(np.arange(rows), row))[:k] for row in range(rows)
    ]).astype(np.int32)  # fmt: skip
    scores = np.linspace(0.95, 0.3, k, dtype=np.float32)[None].repeat(rows, axis=0)
    return HardPairs.from_arrays(ids, scores, options={"method": "exact", "k": k})
