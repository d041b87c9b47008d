"""Hard pairs by three channels: helip beside the reference algorithm with three products.

    python bench/channels.py --rows 60000

The channels are pictures, English names and French names of the icons (1280, 384 and 384
dimensions), grown to ``--rows`` rows at once (``grown.py``). The reference multiplies the three
matrices of cosines block by block, as that of ``exact_sides.py`` does two; it solves ``--part`` of
the targets against all rows, and its time is scaled, which is exact, since each target costs the
same. Sides alternate. ``same`` is the share of the reference's pairs that helip has: scores are
float32 there, so that ties may differ.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import grown
import numpy as np
import torch

import helip

_BLOCK = 512  # targets that the reference multiplies at once
_MAXIMUM = 0.98
NAMES = ("image", "english", "french")


def channel_rows(cache: Path, rows: int) -> list[np.ndarray]:
    """float32 unit rows of each channel, made on first use."""
    folder = cache / f"three-channels-{rows}"
    if not folder.exists():
        image, english = grown.base(cache, (1280, 384))
        both = grown.base(cache, (384, 768))[1]  # English beside French
        parts = grown.grow((image, english, grown.unit(both[:, 384:])), rows, seed=0)
        grown.publish_arrays(folder, dict(zip(NAMES, parts, strict=True)))
    return [np.load(folder / f"{name}.npy") for name in NAMES]


def by_helip(channels: list[np.ndarray], targets: int, k: int, score: str) -> np.ndarray:
    table = helip.mine(
        matrices=dict(zip(NAMES, channels, strict=True)), channels=NAMES, score=score, k=k,
        maxima=(_MAXIMUM,) * len(NAMES), method="exact", device="cpu", progress=False,
    )  # fmt: skip
    print("  ", table.report["filters"])
    return np.asarray(table.ids)[:targets]


def by_reference(channels: list[np.ndarray], targets: int, k: int, score: str) -> np.ndarray:
    parts = [torch.from_numpy(channel) for channel in channels]
    found = []
    for first in range(0, targets, _BLOCK):
        own = torch.arange(first, min(first + _BLOCK, targets))
        total = None
        out = torch.zeros(len(own), len(parts[0]), dtype=torch.bool)
        for part in parts:
            cosines = part[own] @ part.T
            out |= cosines > _MAXIMUM
            if score == "product":
                cosines.clamp_(min=0.0)
            if total is None:
                total = cosines
            else:
                total = total.mul_(cosines) if score == "product" else total.add_(cosines)
        total[out] = 0.0
        total[torch.arange(len(own)), own] = 0.0
        found.append(torch.topk(total, k, dim=1).indices.numpy())
    return np.concatenate(found)


SIDES = {"helip": by_helip, "reference": by_reference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--score", choices=("product", "sum"), default="product")
    parser.add_argument("--part", type=int, default=8192, help="targets of the reference")
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/channels.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.cores)
    channels = channel_rows(arguments.cache, arguments.rows)
    part = min(arguments.part, arguments.rows)
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    found = {}
    for repeat in range(arguments.repeats):
        for name in sorted(SIDES, reverse=repeat % 2 == 1):
            begun = time.perf_counter()
            found[name] = SIDES[name](channels, part, arguments.k, arguments.score)
            scale = arguments.rows / part if name == "reference" else 1.0
            seconds[name].append((time.perf_counter() - begun) * scale)
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    pairs = zip(found["helip"], found["reference"], strict=True)
    same = sum(len(np.intersect1d(*each)) for each in pairs) / found["reference"].size
    ratios = [
        other / own for other, own in zip(seconds["reference"], seconds["helip"], strict=True)
    ]
    print(f"{arguments.score}: the reference takes {statistics.median(ratios):.1f} times as long "
          f"({min(ratios):.1f} … {max(ratios):.1f}), same {same:.4f}")  # fmt: skip
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {"rows": arguments.rows, "k": arguments.k, "score": arguments.score}
    arguments.out.write_text(
        json.dumps({**facts, "seconds": seconds, "ratios": ratios, "same": same}, indent=1)
    )


if __name__ == "__main__":
    main()
