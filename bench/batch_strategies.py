"""What batches of each strategy hold, and what it costs to choose their rows.

Tables are mined exactly from the real pictures of the demo (``--rows 0``) or from rows grown from
them (bench/grown.py). No picture is read.

    python bench/batch_strategies.py --rows 0 60000
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from grown import base, grown_folder

import helip
from helip import _core

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench"
DIMS = (1280, 384)
PLAIN = "plain"


def strategies(batch: int) -> dict[str, dict[str, Any]]:
    three_quarters = 3 * batch // 4
    return {
        PLAIN: {"hard_per_target": 0},
        "uniform": {},
        "uniform, ranks 0 to 10": {"rank_max": 10},
        "temperature 0.02": {"draw_temperature": 0.02},
        "shared": {"strategy": "shared"},
        f"shared, {three_quarters} targets": {
            "strategy": "shared",
            "targets_per_batch": three_quarters,
        },
        "uniform, blocks": {"order": "blocks"},
        f"shared, {three_quarters} targets, blocks": {
            "strategy": "shared",
            "targets_per_batch": three_quarters,
            "order": "blocks",
        },
        f"walk, {three_quarters} targets": {
            "strategy": "walk",
            "targets_per_batch": three_quarters,
        },
        "walk": {"strategy": "walk"},
        "walk, 64 rows each": {"strategy": "walk", "walk_rows": 64},
        "communities": {"strategy": "communities"},
        "communities of 32": {"strategy": "communities", "community_rows": 32},
    }


def measure(pairs: helip.HardPairs, options: dict[str, Any], args: argparse.Namespace) -> dict:
    """Of about ``args.batches`` batches, evenly over an epoch; times are of the processor."""
    sampler = _core.BatchSampler(pairs._core, batch_size=args.batch, seed=0, **options)
    start = time.process_time()
    sampler.batch(0)
    order_seconds = time.process_time() - start
    sampler.reset_statistics()
    steps = sampler.batches_per_epoch
    seconds, sizes, named, inside, scores, blocks = [], [], [], [], [], []
    chosen = range(steps) if steps <= args.batches else range(0, steps, steps // args.batches)
    for step in chosen:
        start = time.process_time()
        index, target, _ = sampler.batch(step)
        seconds.append(time.process_time() - start)
        sizes.append(len(index))
        named.append(int((target != np.arange(len(index))).sum()))
        pools = pairs.ids[index]
        hits = np.isin(pools, index) & (pools >= 0)
        inside.append(int(hits.sum()) / len(index))
        scores.append(float(pairs.scores[index][hits].mean()) if hits.any() else 0.0)
        blocks.append(len(np.unique(index // 1024)))
    counted = sampler.statistics()
    places = max(counted["hard_pairs"] + counted["shared"] + counted["unfilled"], 1)
    return {
        "batches_per_epoch": steps,
        "rows": float(np.mean(sizes)),
        "targets": counted["targets"] / counted["batches"],
        "named": float(np.mean(named)),
        "inside": float(np.mean(inside)),
        "inside_last_tenth": float(np.mean(inside[-max(1, len(inside) // 10) :])),
        "score": float(np.mean(scores)),
        "shared": counted["shared"] / places,
        "unfilled": counted["unfilled"] / places,
        "replaced": counted["replaced"] / max(counted["hard_pairs"], 1),
        "blocks_of_1024": float(np.mean(blocks)),
        "order_seconds": order_seconds,
        "milliseconds": 1e3 * float(np.median(seconds)),
    }


def table_of(rows: int, k: int, threads: int) -> helip.HardPairs:
    if rows == 0:
        image, text = base(CACHE, DIMS)
    else:
        folder = grown_folder(CACHE, DIMS, rows)
        image, text = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
    return helip.mine(image=image, text=text, k=k, device="cpu", threads=threads, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 60_000], help="0: as they are")
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--batches", type=int, default=200, help="that are looked at, evenly")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("batch_strategies.json"))
    args = parser.parse_args()
    results: dict[str, Any] = {"k": args.k, "batch": args.batch, "tables": {}}
    for rows in args.rows:
        pairs = table_of(rows, args.k, args.threads)
        print(f"{len(pairs):,} rows, k = {args.k}, batches of {args.batch} rows")
        print(
            f"{'strategy':32} {'targets':>7} {'rows':>6} {'named':>6} {'inside':>6} {'last':>6} "
            f"{'score':>6} {'shared':>6} {'unfill':>6} {'replac':>6} {'blocks':>6} {'order s':>7} "
            f"{'ms':>5}"
        )
        table = results["tables"][str(len(pairs))] = {}
        for name, options in strategies(args.batch).items():
            found = table[name] = measure(pairs, options, args)
            print(
                f"{name:32} {found['targets']:7.1f} {found['rows']:6.1f} {found['named']:6.1f} "
                f"{found['inside']:6.2f} {found['inside_last_tenth']:6.2f} {found['score']:6.3f} "
                f"{found['shared']:6.1%} {found['unfilled']:6.1%} {found['replaced']:6.1%} "
                f"{found['blocks_of_1024']:6.1f} {found['order_seconds']:7.3f} "
                f"{found['milliseconds']:5.2f}",
                flush=True,
            )
    args.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
