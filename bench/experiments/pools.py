"""Tables of hard pairs of the training split, mined in the ways that the experiments compare.

A way is a dict: ``method`` and the other options of `helip.mine`, and ``features`` where they are
not those of the unimodal encoders: "own" for the start model's towers. ``share`` is the share of
all rows that are candidates. The method "random" draws
pools at random, and "in-batch" takes the best of one batch of random rows for each batch of
targets, which is what mining inside batches can see; k = 1 is its hardest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import setting
import starts
import torch

import helip
from helip import EmbeddingStore, HardPairs


def store(features: str = "unimodal", kind: str = "clip", seed: int = 0) -> EmbeddingStore:
    """Embeddings of the training split; those of the start model depend on its kind and seed."""
    if features == "unimodal":
        encoders = {"image_encoder": setting.IMAGE_ENCODER, "text_encoder": setting.TEXT_ENCODER}
        whose: dict[str, Any] = {}
    else:
        spec = f"open_clip:{starts.start(kind, seed)}"
        encoders = {"image_encoder": spec, "text_encoder": spec}
        whose = starts.identity(kind, seed)
    train = setting.data("train")

    def make(folder: Path) -> None:
        helip.embed(
            train, out=folder / "store", dtype="float32", device="cpu", progress=False, **encoders
        )

    identity = {"features": features, "of": whose, "data": train.fingerprint}
    if features == "unimodal":
        identity["encoders"] = encoders
    return EmbeddingStore.open(setting.cached("embeddings", identity, make) / "store")


def identity(way: Mapping[str, Any], kind: str, seed: int) -> dict[str, Any]:
    """What decides a table: those of unimodal features and no draw are the same for all seeds."""
    features = way.get("features", "unimodal")
    drawn = way["method"] in ("sample", "random", "in-batch")
    return {
        "way": dict(way),
        "seed": seed if drawn else None,
        "start": starts.identity(kind, seed) if features == "own" else None,
        "encoders": [setting.IMAGE_ENCODER, setting.TEXT_ENCODER],
        "data": setting.data("train").fingerprint,
    }


def table(way: Mapping[str, Any], kind: str = "clip", seed: int = 0) -> HardPairs:
    def make(folder: Path) -> None:
        options = {name: value for name, value in way.items() if name != "features"}
        if options["method"] == "random":
            pairs = _random(options["k"], seed)
        else:
            if options["method"] == "in-batch":
                batch = setting.FINETUNE["batch_size"]
                options |= {"method": "sample", "candidates": batch, "refresh": batch}
            if "share" in options:
                options["candidates"] = round(options.pop("share") * len(setting.data("train")))
            pairs = helip.mine(
                store(way.get("features", "unimodal"), kind, seed),
                seed=seed,
                device="cpu",
                threads=torch.get_num_threads(),
                progress=False,
                **options,
            )
        pairs.save(folder / "pairs")

    return HardPairs.open(setting.cached("pools", identity(way, kind, seed), make) / "pairs")


def _random(k: int, seed: int) -> HardPairs:
    like = table(setting.POOL)  # of which data it is
    scores = np.linspace(1.0, 0.5, k, dtype=np.float32)  # no more than the order of the draw
    return HardPairs.from_arrays(
        random_pools(len(like), k, seed),
        np.broadcast_to(scores, (len(like), k)),
        fingerprint=like.fingerprint,
        data_fingerprint=like.data_fingerprint,
        options={"method": "random", "k": k, "seed": seed},
    )


def random_pools(rows: int, k: int, seed: int) -> np.ndarray:
    """k other rows of each, none twice, uniformly: int64 [rows, k]."""
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.choice(rows - 1, k, replace=False) for _ in range(rows)])
    ids += ids >= np.arange(rows)[:, None]  # past the target itself
    return ids
