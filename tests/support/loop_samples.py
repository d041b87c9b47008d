"""A model, a loader and a recipe as small as the training loop takes them."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import torch

from helip.models.bundle import ModelBundle, create_model
from helip.training.recipe import Recipe
from helip.training.trainer import Trainer

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}
RECIPE = Recipe(lr=1e-2, warmup=2, seed=5, precision="float32")
BATCHES = 5


class FakeLoader:
    """Five batches an epoch, four targets with one hard row each; augments with global noise."""

    def __init__(self, rows: int = 40, nan_at: tuple[int, int] | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(rows, 3, 16, 16, generator=generator)
        self.texts = torch.randint(1, 60, (rows, 8), generator=generator)
        self.nan_at = nan_at
        self.epoch = self.next = 0

    def __len__(self) -> int:
        return BATCHES

    def set_epoch(self, epoch: int) -> None:
        self.epoch, self.next = epoch, 0

    def state_dict(self) -> dict:
        return {"epoch": self.epoch, "next": self.next}

    def load_state_dict(self, state: dict) -> None:
        self.epoch, self.next = state["epoch"], state["next"]

    def stats(self) -> dict:
        return {"batches": self.next}

    def __iter__(self):
        torch.rand(3)  # as a DataLoader draws its base seed
        return self._batches()

    def _batches(self):
        while self.next < BATCHES:
            order = torch.Generator().manual_seed(self.epoch)
            index = torch.randperm(len(self.images), generator=order)
            index = index[8 * self.next : 8 * self.next + 8]
            noise = torch.rand(()) + random.random() + float(np.random.rand())
            image = self.images[index] * (1 + 0.1 * noise)
            if (self.epoch, self.next) == self.nan_at:
                image[3] = math.nan
            self.next += 1
            yield {
                "image": image,
                "text": self.texts[index],
                "index": index,
                "target": torch.tensor([0, 0, 2, 2, 4, 4, 6, 6]),
            }


def bundle() -> ModelBundle:
    return create_model("tiny", config=CONFIG, from_scratch=True, seed=3)


def trainer(out: Path, **options) -> Trainer:
    loader = options.pop("loader", None) or FakeLoader()
    model = options.pop("model", None) or bundle()
    options = {"recipe": RECIPE, "device": "cpu", "progress": False, **options}
    return Trainer(model, loader, out=out, **options)


def weights(model: ModelBundle) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.model.state_dict().items()}
