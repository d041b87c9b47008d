"""Pictures of all icons as a model takes them: each read and resized once, not for every model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import icons
import numpy as np
import setting
import torch

import helip


def pixels(
    cache: str, kind: str, side: int, told: Mapping[str, Any], seen: Callable[[Any], torch.Tensor]
) -> Path:
    """The file of uint8 [n, 3, side, side]; made if it is not there.

    seen: of a picture, the values from 0 to 255; told: what they depend on, beside the data.
    """

    def make(folder: Path) -> None:
        data = helip.open_dataset(icons.load(kind).shards(), progress=False)
        shape = (len(data), 3, side, side)
        out = np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, shape)
        for row in range(len(data)):
            out[row] = seen(data.image(row)).round().clamp(0, 255).to(torch.uint8).numpy()
        out.flush()

    identity = {"data": icons.place(kind, 64).name, **told}
    return setting.cached(cache, identity, make) / "pixels.npy"
