"""Small towers trained from pixels on the icons: what batches gain where everything trains.

    python bench/experiments/icon_towers.py
    python bench/experiments/icon_towers.py --ways control "communities of 8" --steps 2560

The model is that of the emoji's experiments (``setting.MODEL``, 8.1 million parameters, 48 px).
Each seed has a start, from scratch on plain batches; each way to make batches (``scout.WAYS``) goes
on from it for as many steps of as many rows, equal captions masked. Batch norms are locked without
``--train-norms``, and the margin loss has no weight but what ``--gamma`` gives it. What was run is
kept in the cache of the bench.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import icon_features
import icon_recall
import icons
import numpy as np
import scout
import setting
import summary
import torch
from icon_splits import TRAIN

import helip
from helip.models.bundle import ModelBundle, create_model
from helip.models.saving import save_model

OUT = Path("build/bench/icon_towers.json")
KIND = "colour"
START: dict[str, Any] = {"steps": 2400, "batch_size": 256, "lr": 1e-3}
TUNE: dict[str, Any] = {"batch_size": 256}
VERSION = 1  # raised when what is measured changes
ENCODED = 512


def train(bundle: ModelBundle, out: Path, seed: int, **options: Any) -> None:
    data = helip.open_dataset(icons.load(KIND).shards(TRAIN), progress=False)
    setting.train(bundle, out, seed, on=data, equal_captions="mask", **options)


def start(seed: int) -> Path:
    """The folder of a model that plain batches trained, with what it is measured to be worth."""

    def make(folder: Path) -> None:
        bundle = create_model(
            "icons", config=setting.MODEL, from_scratch=True, seed=seed,
            augmentation=setting.AUGMENTATION,
        )  # fmt: skip
        setting.working(folder, lambda scratch: train(bundle, scratch, seed, control=True, **START))
        save_model(bundle, folder / "model")
        keep(folder, measure(bundle))

    identity = {
        "model": setting.MODEL, "augmentation": setting.AUGMENTATION, "seed": seed, "start": START,
        "data": icons.place(KIND, 64).name, "measured": VERSION,
    }  # fmt: skip
    return setting.cached("icon-starts", identity, make)


def tuned(
    seed: int, way: str, steps: int, lr: float, gamma: float, norms: bool = False
) -> dict[str, Any]:
    """What a start is worth after so many steps of batches made in a way; "start": as it is.

    norms: whether batch norms train.
    """
    begun = start(seed)
    if way == "start":
        return result(begun)
    options = {**TUNE, "steps": steps, "lr": lr, "lock_batch_norms": not norms}
    if way == "control":
        options["control"] = True
    else:
        options.update(scout.WAYS[way], gamma=gamma)

    def make(folder: Path) -> None:
        bundle = create_model(begun / "model", augmentation=setting.AUGMENTATION)
        pairs = None if way == "control" else icon_features.table(KIND)
        setting.working(
            folder, lambda scratch: train(bundle, scratch, seed, pairs=pairs, **options)
        )
        keep(folder, measure(bundle))

    identity = {"start": begun.name, "train": options, "pool": icon_features.K, "measured": VERSION}
    return result(setting.cached("icon-runs", identity, make))


def keep(folder: Path, measured: dict[str, Any]) -> None:
    (folder / "result.json").write_text(json.dumps(measured), encoding="utf-8")


def result(folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return told


@torch.no_grad()
def measure(bundle: ModelBundle) -> dict[str, Any]:
    """`icon_recall.recall` of the validation splits."""
    shown = icons.load(KIND)
    data = helip.open_dataset(shown.shards(), progress=False)
    model = bundle.model.eval()
    parts = []
    for rows in np.array_split(np.arange(len(data)), -(-len(data) // ENCODED)):
        pictures = torch.stack([bundle.eval_transform(data.image(int(row))) for row in rows])
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        parts.append(model.encode_image(pictures, normalize=True))
    captions = [shown.captions[row] for row in icon_recall.first_rows(shown)]
    text = [
        model.encode_text(bundle.tokenizer(captions[first : first + ENCODED]), normalize=True)
        for first in range(0, len(captions), ENCODED)
    ]
    return icon_recall.recall(shown, torch.cat(parts), torch.cat(text))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = ("start", *scout.WAYS)
    parser.add_argument(
        "--ways", nargs="+", choices=ways, metavar="WAY",
        default=("start", "control", "HELIP, p = 1", "communities of 8"),
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=640)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--gamma", type=float, default=0.0)
    parser.add_argument("--train-norms", action="store_true", help="do not lock batch norms")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    icon_features.table(KIND)  # which all runs need
    with ProcessPoolExecutor(
        args.jobs, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads,
        initargs=(1,),
    ) as workers:  # fmt: skip
        for begun in [workers.submit(start, seed) for seed in args.seeds]:
            begun.result()
        waiting = {
            (way, seed): workers.submit(
                tuned, seed, way, args.steps, args.lr, args.gamma, args.train_norms
            )
            for seed in args.seeds
            for way in args.ways
        }
        found: dict[str, dict[int, Any]] = {way: {} for way in args.ways}
        for (way, seed), future in waiting.items():
            found[way][seed] = future.result()
            print(
                f"seed {seed}, {way}: {100 * found[way][seed]['figures']['mean']:.1f}", flush=True
            )
    about = {name: value for name, value in vars(args).items() if name != "out"}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({**about, "runs": found}), encoding="utf-8")
    others = {way: "control" for way in args.ways if way != "control" and "control" in found}
    print(*summary.table(found, others, ("mean", *icon_recall.FIGURES)), sep="\n")


if __name__ == "__main__":
    main()
