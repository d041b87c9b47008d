"""What keeps a model from forgetting: fine-tuning on people alone, asked for everything else.

    python bench/forgetting.py

Pictures: OpenMoji, as the demo draws them. A small model is trained from scratch on all training
rows; then it is fine-tuned on those of persons alone, with each way against forgetting. ``gained``
is recall@1 of the held-out variants of persons, ``kept`` that of 500 training rows of things and
flags, which the start model knows and the fine-tuning does not show; both are means of the two
directions. Differences to the plain fine-tuning are paired by seed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from equal_captions import CACHE, MODEL, recalls

import helip
from helip.data.dataset import Dataset
from helip.models.bundle import create_model
from helip_demo import data as demo_data

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "half the rate": {"lr": 0.5},
    "distill 0.3": {"distill": 0.3},
    "distill 1": {"distill": 1.0},
    "distill 3": {"distill": 3.0},
    "distill 10": {"distill": 10.0},
    "wise_ft 0.5": {"wise_ft": 0.5},
    "distill 3, wise_ft 0.5": {"distill": 3.0, "wise_ft": 0.5},
    "warm_statistics 50": {"warm_statistics": 50},
}
_KEPT_ROWS = 500


def data() -> dict[str, Dataset]:
    """``all`` training rows, ``people`` of them, ``kept`` others of them, held-out ``variants``."""
    demo_data.build(CACHE, progress=False)

    def opened(split: str) -> Dataset:
        return helip.open_dataset(sorted(map(str, (CACHE / split).glob("*.tar"))), progress=False)

    every = opened("train")
    codes = [[int(code, 16) for code in key.split("/")[-1].split("-")] for key in every.keys]
    groups = np.array([demo_data.group_of(each) for each in codes])
    others = np.flatnonzero(groups != "person").tolist()
    kept = sorted(random.Random(0).sample(others, _KEPT_ROWS))
    return {
        "all": every,
        "people": every.subset(groups == "person"),
        "kept": every.subset(kept),
        "variants": opened("heldout-variants"),
    }


def start_of(sets: dict[str, Dataset], seed: int, args: Any, folder: Path) -> Path:
    bundle = create_model(
        "emoji", config=MODEL, from_scratch=True, seed=seed, augmentation={"scale": (0.8, 1.0)}
    )
    return helip.train(
        model=bundle, data=sets["all"], pairs=None, hard_per_target=0, out=folder, seed=seed,
        batch_size=256, steps=args.start_steps, lr=1e-3, device="cpu", workers=1,
        precision="float32", checkpoint_every=None, keep=1, progress=False,
    ).checkpoint  # fmt: skip


def measured(model: Any, sets: dict[str, Dataset]) -> dict[str, float]:
    return {
        "gained": recalls(model, sets["variants"])["recall@1"],
        "kept": recalls(model, sets["kept"])["recall@1"],
    }


def run(start: Path, sets: dict[str, Dataset], seed: int, args: Any, options: Any) -> Any:
    options = {**options, "lr": args.lr * options.get("lr", 1.0)}
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        helip.train(
            model=start, data=sets["people"], pairs=None, hard_per_target=0, out=out, seed=seed,
            batch_size=args.batch_size, steps=args.steps, device="cpu", workers=1, warmup=10,
            precision="float32", checkpoint_every=None, keep=1, progress=False, **options,
        )  # fmt: skip
        seconds = time.process_time() - began
        model = create_model(out / "wise-ft" if "wise_ft" in options else out)
        return {**measured(model, sets), "cpu_seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    add("--start-steps", type=int, default=200, help="of 256 rows, from scratch")
    add("--steps", type=int, default=60)
    add("--batch-size", type=int, default=128)
    add("--lr", type=float, default=5e-4)
    add("--threads", type=int, default=1)
    add("--out", type=Path, default=Path("build/bench/forgetting.json"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sets = data()
    print({name: len(rows) for name, rows in sets.items()})
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ("start", *args.variants)}
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            start = start_of(sets, seed, args, Path(folder) / "start")
            runs["start"].append(measured(create_model(start), sets))
            for name in args.variants:
                runs[name].append(run(start, sets, seed, args, VARIANTS[name]))
                last = runs[name][-1]
                print(f"seed {seed}, {name}: {last}", flush=True)
    for name, found in runs.items():
        cells = []
        for figure in ("gained", "kept"):
            values = np.array([each[figure] for each in found])
            base = np.array([each[figure] for each in runs[args.variants[0]]])
            spread = statistics.stdev(values - base) if len(values) > 1 else 0.0
            cells.append(f"{100 * values.mean():.1f} | {100 * (values - base).mean():+.1f} ± "
                         f"{100 * spread:.1f}")  # fmt: skip
        print(f"| {name} | {' | '.join(cells)} |")
    given = {name: str(value) if name == "out" else value for name, value in vars(args).items()}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps({"options": given, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
