"""Soft labels on photographs whose captions are shuffled in part: heads on frozen features.

    python bench/experiments/soft_labels.py --data DIR --out FILE.json

The start is heads that plain batches trained. From there each way takes as many steps: random
batches, communities, and communities with soft labels: of the start model as the teacher, or with
a weight of 0 for the captions that were shuffled, as people who knew them would give. Recall@1 is
of the held-out photographs with their own captions, in percent, the mean over both directions.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import photo_scene
import torch
from heads import Heads
from photo_scene import Scene
from torch.nn.functional import normalize

import helip

K, ROWS = 50, 256
WAYS = ("start", "control", "communities", "teacher", "known")


def trained(
    heads: Heads, seen: Scene, shown: np.ndarray, batches: Any, labels: Any, *,
    epochs: float, lr: float, seed: int,
) -> Heads:  # fmt: skip
    """Heads that were trained on; shown: the photograph whose captions each training row has."""
    heads = copy.deepcopy(heads).train()
    loss_of = helip.HelipLoss(gamma=0.0)
    optimizer = torch.optim.AdamW(heads.parameters(), lr=lr, weight_decay=0.1)
    rng = np.random.default_rng(seed)
    steps = round(epochs * len(seen.train) / ROWS)
    coming = iter(batches)
    for step in range(steps):
        batch = next(coming, None)
        if batch is None:
            coming = iter(batches)
            batch = next(coming)
        batch = np.asarray(batch)
        views = rng.integers(0, seen.image.shape[1], len(batch))
        drop = torch.nn.functional.dropout
        image = drop(seen.image[seen.train[batch], views], 0.1)
        text = drop(seen.texts[seen.draw(shown[batch], rng)], 0.1)
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / 20)
            group["lr"] = lr * warm * (1 + math.cos(math.pi * step / steps)) / 2
        soft = None if labels is None else labels.of(batch)
        loss = loss_of(*heads(image, text), heads.scale.exp(), soft_labels=soft)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return heads.eval()


def random_batches(rows: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(rows)
        yield from (order[at : at + ROWS] for at in range(0, rows - ROWS + 1, ROWS))


@torch.no_grad()
def figures(heads: Heads, seen: Scene, part: str) -> dict[str, float]:
    image, text = heads(seen.image[:, 0], seen.texts)
    found = photo_scene.recall(seen, image, text, part)
    return {name: round(100 * found[name], 2) for name in ("published", "among all")}


@torch.no_grad()
def teacher_of(heads: Heads, seen: Scene, shown: np.ndarray, path: Path) -> Any:
    """A store of what the heads make of the training rows and their captions."""
    image, _ = heads(seen.image[seen.train, 0], seen.texts[:1])
    distinct = normalize(heads(seen.image[:1, 0], seen.texts)[1], dim=-1)
    means = torch.stack([
        distinct[seen.caption[seen.first[row] : seen.first[row + 1]]].mean(dim=0) for row in shown
    ])  # fmt: skip
    width = image.shape[1]
    with helip.EmbeddingStore.create(
        path, image_dim=width, text_dim=width, dtype="float32"
    ) as writer:
        writer.append([str(row) for row in range(len(shown))], image.numpy(), means.numpy())
    return helip.EmbeddingStore.open(path)


def one(name: str, noise: float, seed: int, epochs: float, part: str) -> dict[str, Any]:
    seen = photo_scene.scene(name)
    rng = np.random.default_rng(100 + seed)
    torch.manual_seed(seed)
    shown = seen.train.copy()
    wrong = rng.permutation(len(shown))[: round(noise * len(shown))]
    shown[wrong] = shown[np.roll(wrong, 1)]
    rows = [
        normalize(each.float(), dim=-1).numpy()
        for each in (seen.image[seen.train, 0], seen.text_mean[shown])
    ]
    table = helip.mine(image=rows[0], text=rows[1], k=K, progress=False)
    heads = Heads(seen.image.shape[-1], seen.texts.shape[-1])
    heads = trained(heads, seen, shown, random_batches(len(shown), seed), None,
        epochs=epochs, lr=1e-3, seed=seed,
    )  # fmt: skip
    found = {"start": figures(heads, seen, part)}
    with tempfile.TemporaryDirectory() as folder:
        store = teacher_of(heads, seen, shown, Path(folder) / "teacher")
        temperature = float(1 / heads.scale.exp())
        given = {"progress": False}
        # Of no data that it could name: rows in memory.
        plain = helip.HardPairs.from_arrays(table.ids, table.scores, table.counts)
        labels = {
            "teacher": helip.label_pairs(
                plain, teacher=store, temperature=temperature, out=Path(folder) / "by", **given
            )
        }
        if noise:
            import pyarrow as pa
            from pyarrow import parquet

            rows_of = pa.table({"target": wrong, "hard": wrong, "weight": np.zeros(len(wrong))})
            parquet.write_table(rows_of, Path(folder) / "w.parquet")
            labels["known"] = helip.label_pairs(
                plain, weights=Path(folder) / "w.parquet", out=Path(folder) / "known", **given
            )
        told = labels["teacher"].to_dict()
        for way in WAYS[1:]:
            if way == "known" and not noise:
                continue
            batches = (
                random_batches(len(shown), seed + 50) if way == "control"
                else helip.BatchSampler(plain, ROWS, seed=seed)
            )  # fmt: skip
            tuned = trained(
                heads, seen, shown, batches, labels.get(way), epochs=epochs, lr=5e-4, seed=seed + 10
            )
            found[way] = figures(tuned, seen, part)
    return {
        "data": name, "noise": noise, "seed": seed, "epochs": epochs, "recall": found,
        "rows": len(shown), "labels": told["labels"], "rows_below_one": told["rows_below_one"],
        "temperature": temperature,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--sets", nargs="+", default=["flickr8k", "paragraphs"])
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0, 0.2])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--part", default="test", choices=photo_scene.PARTS)
    options = parser.parse_args()
    os.environ["HELIP_PHOTOS"] = str(options.data.resolve())
    runs = []
    for name in options.sets:
        for noise in options.noise:
            for seed in range(options.seeds):
                runs.append(one(name, noise, seed, options.epochs, options.part))
                print(name, noise, seed, runs[-1]["recall"], flush=True)
                options.out.write_text(json.dumps(runs, indent=1))
    for (name, noise), found in itertools.groupby(
        runs, key=lambda run: (run["data"], run["noise"])
    ):
        recalls = [run["recall"] for run in found]
        for way, gallery in itertools.product(recalls[0], ("published", "among all")):
            values = [run[way][gallery] for run in recalls]
            more = [run[way][gallery] - run["communities"][gallery] for run in recalls]
            print(f"{name}, {noise:.0%} shuffled, {gallery}, {way}: {np.mean(values):.1f}, "
                  f"{np.mean(more):+.1f} ({min(more):+.1f} to {max(more):+.1f})")  # fmt: skip


if __name__ == "__main__":
    main()
