"""What all experiments share: where they keep things, the model, and the default recipe.

Each process computes with one thread, so that a result does not depend on how many cores there are.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import emoji_sets
import stamps

import helip
from helip.common.files import publish_directory
from helip.data.dataset import Dataset
from helip.models.bundle import ModelBundle
from helip.training import TrainResult
from helip_demo.pretraining import precision

CACHE = Path(__file__).resolve().parent.parent.parent / ".cache" / "bench" / "experiments"

# 8.1 million parameters, 6.3 million of them the table of tokens. Ten of the 3,947 captions have 17
# tokens and lose their last; all stay distinct.
MODEL: dict[str, Any] = {
    "embed_dim": 192,
    "vision_cfg": {"image_size": 48, "layers": [1, 1, 1, 1], "width": 16},
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 128,
        "heads": 2,
        "layers": 2,
    },
}
AUGMENTATION = {"scale": (0.8, 1.0)}  # share of a picture that training sees
IMAGE_ENCODER = "packaged:efficientnet-lite0?size=128&crop=1"
TEXT_ENCODER = "packaged:minilm"

PRETRAIN: dict[str, Any] = {"epochs": 12, "batch_size": 64, "lr": 5e-4}
POOL: dict[str, Any] = {"method": "exact", "k": 50}
# All runs take the same number of steps: two epochs of 32 targets a batch.
FINETUNE: dict[str, Any] = {
    "steps": 552,
    "batch_size": 64,
    "hard_per_target": 1,
    "gamma": 1.0,
    "lr": 2e-4,
}


@cache
def data(split: str) -> Dataset:
    """A split of the emoji, "emoji" for all of them, split by split in order of their names, or
    "stamps-probe" or "stamps-test"; made on first use."""
    if split.startswith("stamps-"):
        folder = stamps.build(CACHE / "stamps") / split.removeprefix("stamps-")
    else:
        emoji_sets.build(CACHE / "emoji")
        folder = CACHE / "emoji" / ("" if split == "emoji" else split)
    return helip.open_dataset(sorted(map(str, folder.rglob("*.tar"))), progress=False)


def cached(kind: str, identity: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """The folder that ``make`` filled for this identity; made if it is not there, whole or not."""
    folder = place(kind, identity)
    if not folder.exists():
        with publish_directory(folder) as staging:
            make(staging)
            text = _identity(kind, identity)
            (staging / "identity.json").write_text(text + "\n", encoding="utf-8")
    return folder


def result(folder: Path) -> dict[str, Any]:
    """What a run left in its folder of `cached`."""
    told: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return told


def keep(folder: Path, told: Mapping[str, Any]) -> None:
    (folder / "result.json").write_text(json.dumps(told), encoding="utf-8")


def place(kind: str, identity: Mapping[str, Any]) -> Path:
    """Where `cached` keeps what has this identity."""
    name = hashlib.sha256(_identity(kind, identity).encode()).hexdigest()[:16]
    return CACHE / kind / name


def _identity(kind: str, identity: Mapping[str, Any]) -> str:
    return json.dumps({"kind": kind, "precision": precision(), **identity}, sort_keys=True)


def train(
    bundle: ModelBundle,
    out: Path,
    seed: int,
    *,
    on: Dataset | None = None,
    equal_captions: str = "separate",  # what docs/results-emoji.md was made with
    distill: float = 0.0,  # likewise, and towers of icons
    **options: Any,
) -> TrainResult:
    """`helip.train` as every run of the experiments calls it, on the emoji if not ``on`` others."""
    return helip.train(
        model=bundle,
        data=data("train") if on is None else on,
        out=out,
        precision=precision(),
        device="cpu",
        seed=seed,
        workers=1,
        checkpoint_every=None,
        keep=1,
        progress=False,
        equal_captions=equal_captions,
        distill=distill,
        **options,
    )


def working(folder: Path, make: Callable[[Path], None]) -> None:
    """Let ``make`` work in a folder beside what it leaves in ``folder``, and remove it then."""
    scratch = folder / f"scratch-{os.getpid()}"
    scratch.mkdir()
    try:
        make(scratch)
    finally:
        shutil.rmtree(scratch)
