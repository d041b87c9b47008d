"""Small towers trained from pixels on the icons: what batches gain where everything trains.

The model is that of the emoji's experiments (``setting.MODEL``, 8.1 million parameters, 48 px).
Each seed has a start, from scratch on plain batches; each trial goes on from it. Batch norms are
locked unless a trial's ``loader`` says otherwise.
"""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path
from typing import Any

import icon_features
import icon_pixels
import icon_recall
import icons
import numpy as np
import setting
import torch
import ways
from icon_splits import TRAIN
from icon_trials import Trial

import helip
from helip.models.bundle import ModelBundle, create_model
from helip.models.saving import save_model

START: dict[str, Any] = {"batch_size": 256, "lr": 1e-3}
VERSION = 2  # raised when what is measured changes
ENCODED = 512
RUNS = "icon-runs"  # where the cache keeps them


def train(bundle: ModelBundle, out: Path, seed: int, kind: str, **options: Any) -> None:
    data = helip.open_dataset(icons.load(kind).shards(TRAIN), progress=False)
    setting.train(bundle, out, seed, on=data, equal_captions="mask", **options)


def start(seed: int, epochs: float, kind: str = "colour") -> Path:
    """The folder of a model that plain batches trained."""
    identity = start_identity(seed, epochs, kind)

    def make(folder: Path) -> None:
        bundle = create_model(
            "icons", config=setting.MODEL, from_scratch=True, seed=seed,
            augmentation=setting.AUGMENTATION,
        )  # fmt: skip
        told = identity["start"]
        if told["steps"]:
            setting.working(
                folder, lambda scratch: train(bundle, scratch, seed, kind, control=True, **told)
            )
        save_model(bundle, folder / "model")

    return setting.cached("icon-starts", identity, make)


def run(trial: Trial, seed: int) -> dict[str, Any]:
    """Figures of both halves of the held-out splits; from the cache if the run was done before."""
    begun, told = start(seed, trial.epochs, trial.kind), options(trial)

    def make(folder: Path) -> None:
        bundle = create_model(begun / "model", augmentation=setting.AUGMENTATION)
        pairs = None if trial.way == "control" else icon_features.table(trial.kind)
        began = time.perf_counter()
        if trial.way != "start":
            setting.working(
                folder,
                lambda scratch: train(bundle, scratch, seed, trial.kind, pairs=pairs, **told),
            )
        spent = time.perf_counter() - began
        setting.keep(folder, {**measure(bundle, trial.kind), "seconds": spent})

    return setting.result(setting.cached(RUNS, identity(trial, seed), make))


def options(trial: Trial) -> dict[str, Any]:
    """Those of `helip.train`."""
    if trial.way == "start":
        return {}
    told = {
        "batch_size": trial.rows, "steps": trial.steps, "lr": trial.lr, "lock_batch_norms": True,
        **trial.loader,
    }  # fmt: skip
    if trial.way == "control":
        return {**told, "control": True}
    return {**told, **ways.WAYS[trial.way], "gamma": 0.0, **trial.loss}


def identity(trial: Trial, seed: int) -> dict[str, Any]:
    return {
        "start": start_identity(seed, trial.epochs, trial.kind), "train": options(trial),
        "pool": icon_features.K, "measured": VERSION,
    }  # fmt: skip


def start_identity(seed: int, epochs: float, kind: str) -> dict[str, Any]:
    steps = round(epochs * (len(icons.load(kind).rows(TRAIN)) // 256))
    return {
        "model": setting.MODEL, "augmentation": setting.AUGMENTATION, "seed": seed,
        "start": {"steps": steps, **START}, "data": icons.place(kind, 64).name,
    }  # fmt: skip


def measure(bundle: ModelBundle, kind: str) -> dict[str, Any]:
    """`icon_recall.recall` of the validation and the test splits."""
    shown = icons.load(kind)
    captions = [shown.captions[row] for row in icon_recall.first_rows(shown)]
    image, text = encoded(bundle, kind, np.arange(len(shown)), captions)
    return {part: icon_recall.recall(shown, image, text, part) for part in icon_recall.PARTS}


@torch.no_grad()
def encoded(
    bundle: ModelBundle, kind: str, rows: np.ndarray, captions: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit rows of these icons' pictures, and of captions."""
    model = bundle.model.eval()
    shown, normalize = pixels(kind), bundle.eval_transform.transforms[-1]
    image, text = [], []
    for part in np.array_split(rows, -(-len(rows) // ENCODED)):
        pictures = normalize(torch.from_numpy(shown[part]).float().div(255))
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        image.append(model.encode_image(pictures, normalize=True))
    for first in range(0, len(captions), ENCODED):
        tokens = bundle.tokenizer(captions[first : first + ENCODED])
        text.append(model.encode_text(tokens, normalize=True))
    return torch.cat(image), torch.cat(text)


@cache
def pixels(kind: str) -> np.ndarray:
    """uint8 [n, 3, 48, 48], mapped: all icons as the model's transform leaves them before it
    normalizes them, so that each is read and resized once, not for every model."""
    return np.load(make_pixels(kind), mmap_mode="r")


def make_pixels(kind: str) -> Path:
    """The file of `pixels`; made if it is not there."""
    bundle = create_model("icons", config=setting.MODEL, from_scratch=True)
    *resize, _ = bundle.eval_transform.transforms

    def seen(picture: Any) -> torch.Tensor:
        for step in resize:
            picture = step(picture)
        return 255 * picture

    vision = setting.MODEL["vision_cfg"]
    told = {"model": vision}
    return icon_pixels.pixels("icon-pixels", kind, vision["image_size"], told, seen)
