"""helip's exact miner against the reference algorithm, on the same threads, in one process tree.

The reference algorithm is what the method's released code does, on the CPU: for each block of
targets two float32 matrix products, three masked writes (itself, near duplicates of either
modality), the product, the row-wise top-k. Runs alternate; every run is a process of its own, so
that its peak memory is its own. Prints medians and ratios, writes JSON.

    python bench/mine.py --rows 20000 60000
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SIDES = ("reference", "helip")


def run_reference(image: np.ndarray, text: np.ndarray, k: int, threads: int) -> np.ndarray:
    """Top-k ids by the reference algorithm, blocks of 512 targets."""
    import torch

    torch.set_num_threads(threads)
    u, v = torch.from_numpy(image), torch.from_numpy(text)
    ids = torch.empty((len(u), k), dtype=torch.int64)
    for first in range(0, len(u), 512):
        rows = slice(first, min(first + 512, len(u)))
        s_image = u[rows] @ u.T
        s_text = v[rows] @ v.T
        own = torch.arange(rows.start, rows.stop)
        s_image[own - first, own] = 0
        s_image[s_image > 0.98] = 0
        s_text[s_text > 0.98] = 0
        ids[rows] = torch.topk(s_image.mul_(s_text), k, dim=1).indices
    return ids.numpy()


def run_helip(image: np.ndarray, text: np.ndarray, k: int, threads: int) -> np.ndarray:
    import helip

    pairs = helip.mine(
        image=image, text=text, k=k, method="exact", threads=threads, device="cpu", progress=False
    )
    return pairs.ids


def child(arguments: argparse.Namespace) -> None:
    """One run of one side: prints its time, its memory beyond the input and a few of its ids."""
    image = np.load(arguments.data / "image.npy", mmap_mode="r+")
    text = np.load(arguments.data / "text.npy", mmap_mode="r+")
    image.sum(), text.sum()  # both sides find the input in memory
    run = {"reference": run_reference, "helip": run_helip}[arguments.side]
    run(image[:600], text[:600], arguments.k[0], arguments.threads)  # loads libraries
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    ids = run(image, text, arguments.k[0], arguments.threads)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sample = np.sort(ids[:: max(1, len(ids) // 500)], axis=1).tolist()
    print(json.dumps({"seconds": seconds, "extra_mb": (peak - before) / 1024, "sample": sample}))


def overlap(a: list[list[int]], b: list[list[int]]) -> float:
    """Share of equal ids: below 1 by ties, and by pairs that the reference scores wrongly."""
    return float(np.mean([len(set(x) & set(y)) / len(x) for x, y in zip(a, b, strict=True)]))


def measure(data: Path, k: int, threads: int, repeats: int) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for repeat in range(repeats):
        for side in SIDES if repeat % 2 == 0 else reversed(SIDES):
            command = [
                *(sys.executable, __file__, "--side", side, "--data", str(data)),
                *("--k", str(k), "--threads", str(threads)),
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[side].append(json.loads(done.stdout.splitlines()[-1]))
            print(f"    {side}: {runs[side][-1]['seconds']:.1f} s", file=sys.stderr)
    seconds = {side: statistics.median(r["seconds"] for r in runs[side]) for side in SIDES}
    ratios = [
        r["seconds"] / h["seconds"] for r, h in zip(runs["reference"], runs["helip"], strict=True)
    ]
    return {
        "seconds": seconds,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "extra_mb": {side: max(r["extra_mb"] for r in runs[side]) for side in SIDES},
        "overlap": overlap(runs["reference"][0]["sample"], runs["helip"][0]["sample"]),
    }


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 60_000])
    parser.add_argument("--k", type=int, nargs="+", default=[50])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/mine.json"))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        child(arguments)
        return

    from grown import base_store, grow

    results = []
    header = f"{'N':>8} {'k':>4} {'reference':>10} {'helip':>8} {'ratio':>16} {'Mpairs/s':>9}"
    print(header + f" {'extra MB':>13} {'same ids':>8}")
    for rows in arguments.rows:
        data = arguments.cache / f"grown-{rows}"
        if not (data / "text.npy").exists():
            image, text = grow(base_store(arguments.cache), rows, seed=0)
            data.mkdir(parents=True, exist_ok=True)
            np.save(data / "image.npy", image)
            np.save(data / "text.npy", text)
        for k in arguments.k:
            result = measure(data, k, arguments.threads, arguments.repeats)
            results.append({"rows": rows, "k": k, **result})
            seconds, extra = result["seconds"], result["extra_mb"]
            print(
                f"{rows:>8,} {k:>4} {seconds['reference']:>8.1f} s {seconds['helip']:>6.1f} s "
                f"{result['ratio']:>5.2f} ({result['ratio_min']:.2f}..{result['ratio_max']:.2f}) "
                f"{rows * rows / seconds['helip'] / 1e6:>9.0f} "
                f"{extra['reference']:>5.0f} /{extra['helip']:>5.0f} {result['overlap']:>9.4f}"
            )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {"processor": processor(), "threads": arguments.threads, "repeats": arguments.repeats}
    arguments.out.write_text(json.dumps({**facts, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
