"""What is measured on icons: recall@1 of what was held out, among all icons and all captions.

A held-out picture seeks its caption among all captions, and a held-out caption its picture among
all pictures, also those that were trained on: there are the near-twins. A picture or caption that
is equal to the right one is right. So that a caption cannot be answered by a picture of it that was
trained on, such pictures are left out of its gallery. Of designers, only pictures whose caption was
trained on ask: a name that nobody has seen is what *names* asks for.
"""

from __future__ import annotations

from typing import Any

import icons
import numpy as np
import torch

SPLITS = ("variants", "names", "designers")
PARTS = ("validation", "test")
DIRECTIONS = ("I→T", "T→I")
QUERIES = 512  # at a time
FIGURES = tuple(f"{split} {direction}" for split in SPLITS for direction in DIRECTIONS)


def first_rows(data: icons.Icons) -> np.ndarray:
    """int64 [captions]: for each caption, in order of groups, a row that has it."""
    return np.unique(data.groups, return_index=True)[1]


def recall(
    data: icons.Icons, image: torch.Tensor, text: torch.Tensor, part: str = "validation"
) -> dict[str, Any]:
    """``figures``: name -> share, with their "mean"; ``ranks``: name -> rank of the best right
    answer of each query, from 1.

    image: float32 [n, d] of all icons; text: float32 [captions, d] of `first_rows`; unit rows.
    """
    if not (image.isfinite().all() and text.isfinite().all()):
        raise ValueError("features are not finite, of which every rank would be the first")
    _, numbers = np.unique(data.groups, return_inverse=True)
    caption_of = torch.from_numpy(numbers)
    ranks: dict[str, list[int]] = {}
    for split in SPLITS:
        rows = data.rows(f"{split}-{part}")
        if split == "designers":
            rows = rows[data.known[rows]]
        ranks[f"{split} I→T"] = []
        for part_of in torch.from_numpy(rows).split(QUERIES):
            similar = image[part_of] @ text.T
            right = similar.gather(1, caption_of[part_of][:, None])
            ranks[f"{split} I→T"] += (1 + (similar > right).sum(dim=1)).tolist()
        others = torch.ones(len(data), dtype=torch.bool)
        others[rows] = False
        ranks[f"{split} T→I"] = []
        for asked in caption_of[rows].unique().split(QUERIES):
            similar = text[asked] @ image.T
            equal = caption_of[None] == asked[:, None]
            best = similar.masked_fill(~equal | others, -torch.inf).amax(dim=1, keepdim=True)
            ranks[f"{split} T→I"] += (1 + (~equal & (similar > best)).sum(dim=1)).tolist()
    figures = {name: float(np.mean(np.array(of) == 1)) for name, of in ranks.items()}
    return {"figures": {"mean": float(np.mean(list(figures.values()))), **figures}, "ranks": ranks}
