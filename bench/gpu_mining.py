"""Exact mining on a GPU: seconds, pairs per second, and whether sampled targets are the CPU's.

    python bench/gpu_mining.py --rows 1000000 --out mining.json     (--device cpu)

The rows are generated: a mixture of clusters whose spectrum falls as that of real embeddings does.
The job runs once to warm up, on a sixteenth of the rows. 200 targets are mined by the CPU too.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helip import _core
from helip.mining.gpu.table import mine_on_torch_device
from helip.mining.inputs import inputs_of
from helip.mining.options import MineOptions

CHECKED = 200


def rows_of(rng: np.random.Generator, rows: int, dims: int, cluster: np.ndarray) -> np.ndarray:
    spectrum = np.arange(1, dims + 1, dtype=np.float32) ** -0.5
    centres = rng.standard_normal((cluster.max() + 1, dims), dtype=np.float32)
    made = rng.standard_normal((rows, dims), dtype=np.float32)
    made += centres[cluster]
    made *= spectrum
    return made.astype(np.float16)


def mined(image: np.ndarray, text: np.ndarray, k: int, device: str) -> tuple[Any, float]:
    began = time.perf_counter()
    inputs = inputs_of(None, image, text, ("image", "text"))
    options = MineOptions(k=k, method="exact")
    pairs = mine_on_torch_device(inputs, options, device=device, out="", progress=False)
    return pairs, time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dims", type=int, nargs=2, default=(384, 768), metavar=("IMAGE", "TEXT"))
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows, k = options.rows, options.k
    rng = np.random.default_rng(0)
    cluster = rng.integers(max(1, rows // 50), size=rows)
    image, text = (rows_of(rng, rows, dims, cluster) for dims in options.dims)
    small = slice(0, max(64, rows // 16))
    mined(image[small], text[small], k, options.device)
    pairs, seconds = mined(image, text, k, options.device)
    checked = np.sort(rng.choice(rows, size=min(CHECKED, rows), replace=False))
    expected = _core.mine_targets(
        *inputs_of(None, image, text, ("image", "text")).matrices, checked.tolist(),
        _core.MineOptions(k=k, method="exact"),
    )  # fmt: skip
    found = (pairs.ids[checked], pairs.scores[checked], pairs.counts[checked])
    equal = all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    result = {
        "rows": rows, "dims": list(options.dims), "k": k, "seconds": seconds,
        "pairs_per_second": rows * (rows - 1) / seconds, "equal": equal,
        "report": {name: pairs.report[name] for name in ("device", "kernel", "precision")},
    }  # fmt: skip
    if options.out:
        options.out.write_text(json.dumps(result, indent=1))
    print(
        f"{rows:,} rows, {result['report']}: {seconds:.2f} s, "
        f"{result['pairs_per_second']:.3g} pairs/s, "
        f"{len(checked)} targets {'as' if equal else 'NOT as'} on the CPU"
    )
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
