"""A table with its store and pictures, for plots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import helip

ROWS = 60


def mined(folder: Path, k: int = 8) -> tuple[helip.HardPairs, Path]:
    """(table that knows its store, folder of the pictures that its rows are)."""
    random = np.random.default_rng(3)
    pictures = folder / "pictures"
    pictures.mkdir()
    for row in range(ROWS):
        shade = Image.new("RGB", (12, 12), (4 * row, 255 - 4 * row, 90))
        shade.save(pictures / f"{row:03}.png")
        (pictures / f"{row:03}.txt").write_text(f"shade number {row} of $60")
    data = helip.open_dataset(pictures)
    text = random.standard_normal((ROWS, 6)) + 1
    image = np.c_[text, random.standard_normal((ROWS, 4))]
    with helip.EmbeddingStore.create(folder / "store", image_dim=10, text_dim=6) as writer:
        writer.append(list(data.keys), image, text)
    store = helip.EmbeddingStore.open(folder / "store")
    pairs = helip.mine(store, k=k, device="cpu", out=folder / "pairs", progress=False)
    return pairs.with_store(store), pictures


def part_of(folder: Path) -> helip.HardPairs:
    """The second half of the targets."""
    pairs, _ = mined(folder)
    return helip.mine(pairs.store, k=8, out=folder / "part", part=(2, 2), progress=False)


def words_of(figure) -> str:
    """All words of a matplotlib figure."""
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))
