"""The models that every run begins from: trained from scratch on the training split, one a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import setting

from helip.models.bundle import ModelBundle, create_model
from helip.models.saving import save_model

# SLIP encodes three views of a picture: half of the epochs, for a step takes much longer.
RECIPES: dict[str, dict[str, Any]] = {
    "clip": setting.PRETRAIN,
    "slip": {**setting.PRETRAIN, "epochs": setting.PRETRAIN["epochs"] // 2},
}


def identity(kind: str, seed: int) -> dict[str, Any]:
    return {
        "start": kind,
        "seed": seed,
        "recipe": RECIPES[kind],
        "model": setting.MODEL,
        "augmentation": setting.AUGMENTATION,
        "data": setting.data("train").fingerprint,
    }


def start(kind: str, seed: int) -> Path:
    """The folder of a "clip" or "slip" model."""

    def make(folder: Path) -> None:
        bundle = create_model(
            "emoji",
            config=setting.MODEL,
            from_scratch=True,
            seed=seed,
            augmentation=setting.AUGMENTATION,
            ssl_head=kind == "slip",
        )
        setting.working(
            folder,
            lambda scratch: setting.train(bundle, scratch, seed, **RECIPES[kind]),
        )
        save_model(bundle, folder / "model")

    return setting.cached("starts", identity(kind, seed), make) / "model"


def loaded(kind: str, seed: int) -> ModelBundle:
    return create_model(start(kind, seed), augmentation=setting.AUGMENTATION)
