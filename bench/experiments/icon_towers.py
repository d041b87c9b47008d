"""Small towers trained from pixels on the icons: what batches gain where everything trains.

The model is that of the emoji's experiments (``setting.MODEL``, 8.1 million parameters, 48 px).
Each seed has a start, from scratch on plain batches; each trial goes on from it. Batch norms are
locked unless a trial's ``loader`` says otherwise.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import icon_features
import icon_recall
import icons
import numpy as np
import setting
import torch
import ways
from icon_splits import TRAIN
from icon_trials import Trial

import helip
from helip.data.dataset import Dataset
from helip.models.bundle import ModelBundle, create_model
from helip.models.saving import save_model

KIND = "colour"
EPOCH = 120  # steps of 256 rows
START: dict[str, Any] = {"batch_size": 256, "lr": 1e-3}
VERSION = 2  # raised when what is measured changes
ENCODED = 512
RUNS = "icon-runs"  # where the cache keeps them


def train(bundle: ModelBundle, out: Path, seed: int, **options: Any) -> None:
    data = helip.open_dataset(icons.load(KIND).shards(TRAIN), progress=False)
    setting.train(bundle, out, seed, on=data, equal_captions="mask", **options)


def start(seed: int, epochs: float) -> Path:
    """The folder of a model that plain batches trained."""

    def make(folder: Path) -> None:
        bundle = create_model(
            "icons", config=setting.MODEL, from_scratch=True, seed=seed,
            augmentation=setting.AUGMENTATION,
        )  # fmt: skip
        told = start_identity(seed, epochs)["start"]
        if told["steps"]:
            setting.working(
                folder, lambda scratch: train(bundle, scratch, seed, control=True, **told)
            )
        save_model(bundle, folder / "model")

    return setting.cached("icon-starts", start_identity(seed, epochs), make)


def run(trial: Trial, seed: int) -> dict[str, Any]:
    """Figures of both halves of the held-out splits; from the cache if the run was done before."""
    begun, told = start(seed, trial.epochs), options(trial)

    def make(folder: Path) -> None:
        bundle = create_model(begun / "model", augmentation=setting.AUGMENTATION)
        pairs = None if trial.way == "control" else icon_features.table(KIND)
        began = time.perf_counter()
        if trial.way != "start":
            setting.working(
                folder, lambda scratch: train(bundle, scratch, seed, pairs=pairs, **told)
            )
        setting.keep(folder, {**measure(bundle), "seconds": time.perf_counter() - began})

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
        "start": start_identity(seed, trial.epochs), "train": options(trial),
        "pool": icon_features.K, "measured": VERSION,
    }  # fmt: skip


def start_identity(seed: int, epochs: float) -> dict[str, Any]:
    return {
        "model": setting.MODEL, "augmentation": setting.AUGMENTATION, "seed": seed,
        "start": {"steps": round(epochs * EPOCH), **START}, "data": icons.place(KIND, 64).name,
    }  # fmt: skip


@torch.no_grad()
def measure(bundle: ModelBundle) -> dict[str, Any]:
    """`icon_recall.recall` of the validation and the test splits."""
    shown = icons.load(KIND)
    data = helip.open_dataset(shown.shards(), progress=False)
    captions = [shown.captions[row] for row in icon_recall.first_rows(shown)]
    image, text = encoded(bundle, data, captions)
    return {part: icon_recall.recall(shown, image, text, part) for part in icon_recall.PARTS}


def encoded(bundle: ModelBundle, data: Dataset, captions: list[str]) -> tuple[Any, Any]:
    """Unit rows of all pictures of a data set, and of captions."""
    model = bundle.model.eval()
    parts = []
    for rows in np.array_split(np.arange(len(data)), -(-len(data) // ENCODED)):
        pictures = torch.stack([bundle.eval_transform(data.image(int(row))) for row in rows])
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        parts.append(model.encode_image(pictures, normalize=True))
    text = [
        model.encode_text(bundle.tokenizer(captions[first : first + ENCODED]), normalize=True)
        for first in range(0, len(captions), ENCODED)
    ]
    return torch.cat(parts), torch.cat(text)
