"""Tiny models of every kind of tower, and a data set to train them on."""

from __future__ import annotations

import numpy as np
import torch

from helip.data.dataset import Dataset
from helip.models.bundle import ModelBundle, create_model
from helip.pairs.hard_pairs import HardPairs

TEXT = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VIT = {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
RESNET = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}


def timm_tower(name: str = "test_vit", **options) -> dict:
    return {
        "timm_model_name": name,
        "timm_pool": "token",
        "timm_proj": "linear",
        "image_size": 160,
        **options,
    }


CONFIG = {"embed_dim": 16, "vision_cfg": VIT, "text_cfg": TEXT}
TOWERS = {
    "vit": VIT,
    "vit of mean pooling": {**VIT, "pool_type": "avg", "final_ln_after_pool": True},
    "resnet": RESNET,
    "timm, linear": timm_tower(),
    "timm, mlp": timm_tower(timm_proj="mlp"),
    "timm, its own classifier": timm_tower(timm_proj=None),
    "timm, convolutional": timm_tower("test_convnext", timm_pool="avg"),
}


def tiny(tower: dict = VIT, *, seed: int = 3, **options) -> ModelBundle:
    options.setdefault("from_scratch", "checkpoint" not in options)
    return create_model("tiny", config={**CONFIG, "vision_cfg": tower}, seed=seed, **options)


def pictures(bundle: ModelBundle, rows: int = 4, seed: int = 0) -> torch.Tensor:
    size = bundle.model.visual.image_size
    side = size[0] if isinstance(size, (tuple, list)) else size
    return torch.randn(rows, 3, side, side, generator=torch.Generator().manual_seed(seed))


def captions(rows: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 49407, (rows, 8), generator=generator)


def weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def table(data: Dataset) -> HardPairs:
    """Three hard pairs for each row."""
    rows = len(data)
    ids = (np.arange(rows)[:, None] + 1 + np.arange(3)[None, :]).astype(np.int32) % rows
    scores = np.tile(np.array([0.9, 0.8, 0.7], dtype=np.float32), (rows, 1))
    return HardPairs.from_arrays(ids, scores, data_fingerprint=data.fingerprint)
