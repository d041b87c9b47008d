"""Features of all icons, and the hard pairs of those that are trained on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import icon_features
import icons
import numpy as np
import setting
import torch
from icon_splits import TRAIN
from torch.nn.functional import normalize

import helip
from helip import HardPairs
from helip.data.dataset import Dataset


@dataclass
class Scene:
    """Features of all icons, and the data set of those that are trained on.

    With ``noise`` this share of the training rows has captions of one another, as ``text_of`` and
    ``groups`` say.
    """

    icons: icons.Icons
    image: torch.Tensor  # bfloat16 [n, dI], rows of length sqrt(dI)
    texts: torch.Tensor  # bfloat16 [n, dT], rows of length sqrt(dT); of the true captions
    train: np.ndarray  # int64, rows that are trained on
    text_of: np.ndarray  # int64 [train], row of texts that each has in training
    data: Dataset
    noise: float = 0.0
    tables: dict[str, HardPairs] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.icons.folder.name.partition("-")[0]

    @property
    def groups(self) -> np.ndarray:
        """int64 [train]: equal for rows that training sees with equal captions."""
        return self.icons.groups[self.text_of]

    def pairs(self, pool: str) -> HardPairs:
        if pool not in self.tables:
            self.tables[pool] = self._pairs(pool)
        return self.tables[pool]

    def _pairs(self, pool: str) -> HardPairs:
        if pool == "product" and not self.noise:
            return icon_features.table(self.kind)
        image, text = self.image[self.train], self.texts[self.text_of]
        identity = {
            "data": icons.place(self.kind, 64).name, "pool": pool, "noise": self.noise,
            "k": icon_features.K,
        }  # fmt: skip

        def make(folder: Path) -> None:
            mined(self, image, text, pool).save(folder / "pairs")

        return HardPairs.open(setting.cached("icon-pools", identity, make) / "pairs")


def mined(scene: Scene, image: torch.Tensor, text: torch.Tensor, pool: str) -> HardPairs:
    """Hard pairs of the training rows by their features, of any length.

    "sum" is the mean of both similarities: the image similarity of rows that have both joined.
    """
    rows = [normalize(part.float(), dim=-1).numpy() for part in (image, text)]
    if pool == "sum":
        rows[0] = np.concatenate(rows, axis=1)
    modality: Any = {"product": "both", "sum": "image"}.get(pool, pool)
    found = helip.mine(
        image=rows[0], text=rows[1], k=icon_features.K, modality=modality, device="cpu",
        progress=False, threads=torch.get_num_threads(),
    )  # fmt: skip
    return HardPairs.from_arrays(
        np.asarray(found.ids), np.asarray(found.scores), fingerprint=found.fingerprint,
        data_fingerprint=scene.data.fingerprint, options={"pool": pool},
    )  # fmt: skip


@cache
def scene(kind: str = "colour", noise: float = 0.0) -> Scene:
    if noise:
        clean = scene(kind)
        text_of = clean.train.copy()
        rng = np.random.default_rng(3)
        wrong = rng.choice(len(text_of), round(noise * len(text_of)), replace=False)
        text_of[wrong] = text_of[np.roll(wrong, 1)]  # wrong is in random order
        return Scene(clean.icons, clean.image, clean.texts, clean.train, text_of, clean.data, noise)
    data = icons.load(kind)
    parts: dict[str, Any] = {}
    for split in data.split_names:
        rows = data.rows(split)
        for name, part in zip(
            ("image", "text"), icon_features.store(kind, split).rows(slice(None)), strict=True
        ):
            # Layers expect elements of about 1.
            scaled = normalize(part.float(), dim=-1) * part.shape[1] ** 0.5
            if name not in parts:
                parts[name] = torch.empty(len(data), part.shape[1], dtype=torch.bfloat16)
            parts[name][rows] = scaled.bfloat16()
    train = data.rows(TRAIN)
    return Scene(
        data, parts["image"], parts["text"], train, train,
        helip.open_dataset(data.shards(TRAIN), progress=False),
    )  # fmt: skip
