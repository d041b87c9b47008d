"""Trials in feature space: what batches gain where two small heads on frozen features are trained.

    python bench/experiments/scout.py
    python bench/experiments/scout.py --ways control "communities of 8" --steps 2560 --lr 1e-3

The features are those that the icons were mined with. A start is trained on plain batches, and each
way to make batches goes on from it for as many steps. A run takes half a minute, so that many ways
can be looked at before expensive runs; that towers which train gain as much, it does not say.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icon_features
import icon_recall
import icons
import numpy as np
import summary
import torch
from icon_splits import TRAIN
from rivals import PARTITIONS
from torch import nn

import helip

OUT = Path("build/bench/scout.json")
POOL = {"rank_max": 50}
#: What `helip.HardPairLoader` is asked for.
WAYS: dict[str, dict[str, Any]] = {
    "control": {"hard_per_target": 0},
    "HELIP, p = 1": {**POOL},
    "HELIP, p = 7": {**POOL, "hard_per_target": 7},
    "HELIP, p = 31": {**POOL, "hard_per_target": 31},
    "communities of 8": {**POOL, "strategy": "communities", "community_rows": 8},
    "communities of 16": {**POOL, "strategy": "communities", "community_rows": 16},
    "communities of 32": {**POOL, "strategy": "communities", "community_rows": 32},
    "communities of 64": {**POOL, "strategy": "communities", "community_rows": 64},
    "communities of 32, whole pools": {"strategy": "communities", "community_rows": 32},
    "communities of 32, first 20": {
        "strategy": "communities", "community_rows": 32, "rank_max": 20,
    },
    "communities of 32, ranks 30 to 100": {
        "strategy": "communities", "community_rows": 32, "rank_min": 30, "rank_max": 100,
    },
    "communities of 32, half of the batch": {
        **POOL, "strategy": "communities", "community_rows": 32, "fraction": 0.5,
    },
    "walks of 32": {**POOL, "strategy": "walk", "walk_rows": 32},
}  # fmt: skip


@dataclass
class Scene:
    """Features of all icons, and the data set and hard pairs of those that are trained on."""

    icons: icons.Icons
    image: torch.Tensor  # float32 [n, dI], unit rows
    text: torch.Tensor  # float32 [n, dT], unit rows
    train: np.ndarray  # int64, rows that are trained on
    data: Any
    pairs: helip.HardPairs


def scene(kind: str = "colour") -> Scene:
    data = icons.load(kind)
    image: Any = None
    text: Any = None
    for split in data.split_names:
        rows = data.rows(split)
        parts = icon_features.store(kind, split).rows(slice(None))
        i, t = (nn.functional.normalize(part.float(), dim=-1) for part in parts)
        if image is None:
            image, text = torch.empty(len(data), i.shape[1]), torch.empty(len(data), t.shape[1])
        image[rows], text[rows] = i, t
    return Scene(
        data, image, text, data.rows(TRAIN),
        helip.open_dataset(data.shards(TRAIN), progress=False), icon_features.table(kind),
    )  # fmt: skip


class Heads(nn.Module):
    """Two layers on each modality's features, as LiT's projections are."""

    def __init__(self, image: int, text: int, width: int = 512, out: int = 256) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Linear(image, width), nn.GELU(), nn.Linear(width, out))
        self.text = nn.Sequential(nn.Linear(text, width), nn.GELU(), nn.Linear(width, out))
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> tuple[Any, Any]:
        # Unit rows have elements of 1 / sqrt(d); layers expect about 1.
        return tuple(
            nn.functional.normalize(head(rows * math.sqrt(rows.shape[1])), dim=-1)
            for head, rows in ((self.image, image), (self.text, text))
        )


def batches(scene: Scene, way: str, rows: int, seed: int) -> Iterator[np.ndarray]:
    """Rows of the training split, batch by batch, for ever."""
    if way in PARTITIONS:
        yield from PARTITIONS[way](scene.pairs, rows, seed)
    loader = helip.HardPairLoader(
        scene.data, scene.pairs, batch_size=rows, seed=seed, workers=0, **WAYS[way]
    )
    epoch = 0
    while True:
        yield from loader.planned_rows(epoch)
        epoch += 1


def train(
    heads: Heads, scene: Scene, way: str, *, steps: int, rows: int, lr: float, seed: int
) -> dict[str, float]:
    """AdamW, the learning rate up over 20 steps and down along a cosine; equal captions masked."""
    optimizer = torch.optim.AdamW(heads.parameters(), lr=lr, weight_decay=0.1)
    losses, held = [], []
    loss_of = helip.HelipLoss(gamma=0.0)
    coming = batches(scene, way, rows, seed)
    for step in range(steps):
        rate = min(1.0, (step + 1) / 20) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = lr * rate
        batch = next(coming)
        chosen = scene.train[batch]
        image, text = heads(scene.image[chosen], scene.text[chosen])
        groups = torch.from_numpy(scene.icons.groups[chosen])
        scale = heads.scale.exp().clamp(max=100)
        loss = loss_of(image, text, scale, torch.arange(len(batch)), groups=groups)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        if step % 16 == 0:
            pools = scene.pairs.ids[batch][:, :50]
            held.append(float(np.isin(pools, batch).sum(axis=1).mean()))
    return {"held": float(np.mean(held)), "loss": float(np.mean(losses[-steps // 10 :]))}


@torch.no_grad()
def measure(heads: Heads, scene: Scene, part: str = "validation") -> dict[str, Any]:
    image, text = heads(scene.image, scene.text)
    captions = text[icon_recall.first_rows(scene.icons)]
    return icon_recall.recall(scene.icons, image, captions, part)


def start(scene: Scene, seed: int, epochs: int = 8) -> Heads:
    torch.manual_seed(seed)
    heads = Heads(scene.image.shape[1], scene.text.shape[1])
    steps = epochs * len(scene.train) // 256
    train(heads, scene, "control", steps=steps, rows=256, lr=1e-3, seed=seed)
    return heads


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = ("start", *WAYS, *PARTITIONS)
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways, metavar="WAY")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=640)
    parser.add_argument("--rows", type=int, default=256, help="of a batch")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--epochs", type=int, default=8, help="of the start, on plain batches")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    torch.set_num_threads(1)
    shown = scene()
    found: dict[str, dict[int, Any]] = {way: {} for way in args.ways}
    for seed in args.seeds:
        begun = start(shown, seed, args.epochs)
        for way in args.ways:
            began = time.perf_counter()
            heads = copy.deepcopy(begun)
            told: dict[str, float] = {}
            if way != "start":
                told = train(
                    heads, shown, way, steps=args.steps, rows=args.rows, lr=args.lr, seed=seed
                )
            told["seconds"] = time.perf_counter() - began
            found[way][seed] = {**measure(heads, shown), **told}
            print(
                f"seed {seed}, {way}: {100 * found[way][seed]['figures']['mean']:.1f}", flush=True
            )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    about = {name: value for name, value in vars(args).items() if name != "out"}
    args.out.write_text(json.dumps({**about, "runs": found}, indent=1), encoding="utf-8")
    others = {way: "control" for way in args.ways if way != "control" and "control" in found}
    print(*summary.table(found, others, ("mean", *icon_recall.FIGURES)), sep="\n")


if __name__ == "__main__":
    main()
