"""A small captioned set with embeddings, hard pairs and a start model, for examples and notebooks.

Some 300 OpenMoji pictures of whole concepts, so that near-twins stay together, and a CLIP of three
million parameters that was trained on them for a moment. Everything is made from installed packages
(``helip[demo]``), with fixed seeds, and kept for the next call.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helip
from helip.common.files import publish_directory
from helip.models.run_folder import checkpoint_path
from helip_demo.data import draw, named_emoji, whole_concepts
from helip_demo.quick import embedded, is_embedded

PICTURES = 300
SIZE = 64  # pixels of a side
POOL = 20  # hard pairs of a target
#: A CLIP that trains on a CPU.
MODEL: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8},
    "text_cfg": {
        "context_length": 20,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 2,
    },
}
_STEPS = 60  # of the start model


@dataclass(frozen=True)
class Sample:
    """Where the parts of the sample lie."""

    pictures: Path  # KEY.png and KEY.txt
    store: Path  # EmbeddingStore of the pictures and captions
    pairs: Path  # HardPairs of the store
    start: Path  # a saved model


def sample(folder: str | os.PathLike[str] = "openmoji-sample", *, progress: bool = False) -> Sample:
    """The whole sample in ``folder``; what an earlier call left there is used as it is.

    Where all of it is there nothing is locked, so that several examples may use it at once.

    Raises UnsupportedError without the packages of ``helip[demo]``.
    """
    folder = Path(folder)
    pictures = write_pictures(folder / "pictures")
    data = helip.open_dataset(pictures)
    if is_embedded(data, folder / "embeddings"):
        store = helip.EmbeddingStore.open(folder / "embeddings")
    else:
        store = embedded(data, folder / "embeddings", progress=progress)
    if not (folder / "pairs").exists():
        helip.mine(store, k=POOL, device="cpu", out=folder / "pairs", progress=progress)
    start = start_model(pictures, folder / "start", progress=progress)
    return Sample(pictures, folder / "embeddings", folder / "pairs", start)


def write_pictures(folder: str | os.PathLike[str], *, count: int = PICTURES, seed: int = 0) -> Path:
    """About ``count`` pictures as ``KEY.png``, each with its caption in ``KEY.txt``."""
    folder = Path(folder)
    if folder.exists():
        return folder
    concepts = defaultdict(list)
    for picture in named_emoji():
        concepts[picture.concept].append(picture)
    chosen = whole_concepts(concepts, count, seed=f"helip-demo-sample-{seed}")
    with publish_directory(folder) as staging:
        for picture in draw(chosen, size=SIZE, progress=False):
            (staging / f"{picture.key}.png").write_bytes(picture.png)
            (staging / f"{picture.key}.txt").write_text(picture.caption + "\n", encoding="utf-8")
    return folder


def start_model(
    pictures: str | os.PathLike[str], out: str | os.PathLike[str], *, progress: bool = False
) -> Path:
    """The folder of a small CLIP, trained on the pictures from scratch for a moment."""
    trained = checkpoint_path(Path(out) / "checkpoints", _STEPS)
    if trained.exists():
        return trained
    result = helip.train(
        model=MODEL,
        from_scratch=True,
        data=pictures,
        out=out,
        batch_size=64,
        steps=_STEPS,
        lr=1e-3,
        device="cpu",
        precision="float32",
        seed=0,
        progress=progress,
        keep=1,
    )
    return Path(result.checkpoint)
