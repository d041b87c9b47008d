"""One fine-tuning run of a variant, and what it is measured to be worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import measures
import numpy as np
import pools
import setting
import starts
import torch
from variants import UNTUNED, Variant

import helip
from helip.pairs.hard_pairs import HardPairs


def run(variant: Variant, seed: int) -> dict[str, Any]:
    """Figures of the tuned model, from the cache where the same run was done before."""
    return setting.result(
        setting.cached("runs", identity(variant, seed), lambda folder: _run(variant, seed, folder))
    )


def identity(variant: Variant, seed: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "start": starts.identity(variant.start, seed),
        "measures": measures.VERSION,
        "train": options(variant),
    }
    if mined(variant):
        return {**told, "pool": pools.identity(variant.pool, variant.start, seed)}
    return {**told, "pool": variant.pool if "memory" in variant.pool else None}


def mined(variant: Variant) -> bool:
    """Whether a run takes a table: not the start model, a control, or one that mines by itself."""
    plain = variant.train == UNTUNED or variant.train.get("control", False)
    return not plain and "memory" not in variant.pool


def options(variant: Variant) -> dict[str, Any]:
    return {**setting.FINETUNE, **variant.train}


def _run(variant: Variant, seed: int, folder: Path) -> None:
    bundle = starts.loaded(variant.start, seed)
    about: dict[str, Any] = {}
    if variant.train != UNTUNED:
        setting.working(folder, lambda scratch: about.update(_tune(bundle, variant, seed, scratch)))
    setting.keep(folder, {**measures.measure(bundle), **about})


def _tune(bundle: Any, variant: Variant, seed: int, out: Path) -> dict[str, Any]:
    pairs, streaming = _pairs(variant, seed)
    result = setting.train(bundle, out, seed, pairs=pairs, **streaming, **options(variant))
    mining = {}
    if isinstance(pairs, helip.StreamingMiner):
        grown = pairs.pairs
        assert grown is not None
        mining["exact"] = _share_in(grown.pools(np.arange(len(grown))).ids)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    kept = ("clip", "margin", "violated", "hard_similarity", "ordinary_similarity")
    return {
        "steps": result.steps,
        "seconds": result.seconds,
        "loader": result.loader_stats,
        "mining": mining,
        # Of the last tenth of the steps, so that one batch says little.
        "training": {
            name: float(np.mean([line[name] for line in lines[-len(lines) // 10 :]]))
            for name in kept
            if name in lines[-1]
        },
    }


def mining_quality(variant: Variant, seed: int) -> float:
    """Share of a variant's pairs that are in the exact pools of both modalities."""
    if "memory" in variant.pool:
        return float(run(variant, seed)["mining"]["exact"])
    return _share_in(pools.table(variant.pool, variant.start, seed).ids)


def _exact() -> HardPairs:
    return pools.table(setting.POOL)


def _pairs(variant: Variant, seed: int) -> tuple[Any, dict[str, Any]]:
    """The table, or the miner and what else `helip.train` needs for it."""
    if variant.train.get("control"):
        return None, {}
    if "memory" not in variant.pool:
        return pools.table(variant.pool, variant.start, seed), {}
    parts = pools.store().rows(slice(None))
    image, text = (torch.from_numpy(np.ascontiguousarray(part.numpy())) for part in parts)
    miner = helip.StreamingMiner(
        memory=variant.pool["memory"], k=setting.POOL["k"], threads=torch.get_num_threads()
    )

    def embed(batch: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        return image[batch["index"]], text[batch["index"]]

    return miner, {"embed": embed}


def _share_in(ids: np.ndarray) -> float:
    exact = np.asarray(_exact().ids)
    same = sum(len(np.intersect1d(a[a >= 0], b)) for a, b in zip(ids, exact, strict=True))
    return float(same / (np.asarray(ids) >= 0).sum())
