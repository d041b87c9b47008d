"""What resharding gains: how close hard pairs lie to their targets, and the reads of a batch.

    python bench/reshard.py --rows 50000 200000 --k 50
    python bench/reshard.py --rows --planted 1000000

``--rows``: tables mined from real embeddings, grown to N rows (``grown.py``); ``--planted``:
tables of N rows in clusters of 300, numbered at random, with one pair in five anywhere, for the
time alone. For each: time of the order; the share of hard pairs that lie in the same block of
64, 256 and 1,024 rows as their target, and within so many rows of it, before and after.

Reads of batches of 256 rows (128 targets, one hard pair each), at ``--bytes`` a sample, each batch
read in the order of the disk: seeks are jumps over more than ``--readahead`` bytes, and the gap is
the median of the bytes from one read to the next. Targets are drawn from all rows (``anywhere``)
or block by block (``blocks``: 1,024 rows that follow each other, in a random order of blocks).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import helip
from helip import _core
from helip.pairs.resharding import inverse_of, locality

BLOCKS = (64, 256, 1024)
BATCH, WALKED = 256, 1024


def mined(cache: Path, rows: int, k: int) -> helip.HardPairs:
    """Hard pairs of grown embeddings; mined on first use."""
    from grown import grown_folder

    data = grown_folder(cache, (1280, 384), rows)
    path = cache / f"{data.name}-pairs-k{k}"
    if not path.exists():
        image, text = (np.load(data / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
        helip.mine(image=image, text=text, k=k, out=path)
    return helip.HardPairs.open(path)


def planted(rows: int, k: int, cluster: int = 300) -> helip.HardPairs:
    random = np.random.default_rng(0)
    row_at = random.permutation(rows).astype(np.int32)
    ids = np.empty((rows, k), np.int32)
    for first in range(0, rows, 1 << 16):
        place = np.arange(first, min(first + (1 << 16), rows))[:, None]
        start = place // cluster * cluster
        near = start + random.integers(0, cluster, size=(len(place), k))
        far = random.integers(0, rows, size=near.shape)
        pool = np.minimum(np.where(random.random(near.shape) < 0.2, far, near), rows - 1)
        pool = np.where(pool == place, (pool + 1) % rows, pool)
        ids[row_at[place[:, 0]]] = row_at[pool]
    scores = np.broadcast_to(np.linspace(1, 0.1, k, dtype=np.float32), ids.shape)
    return helip.HardPairs.from_arrays(ids, scores)


def within(pairs: helip.HardPairs, order: np.ndarray, rows: int) -> float:
    """Share of the hard pairs at most so many rows from their target."""
    places, near, total = inverse_of(order), 0, 0
    for first in range(0, len(order), 8192):
        ids = pairs.ids[first : first + 8192]
        apart = np.abs(places[ids] - places[first : first + 8192, None])[ids >= 0]
        near, total = near + int((apart <= rows).sum()), total + len(apart)
    return near / max(total, 1)


def batches(pairs: helip.HardPairs, order: np.ndarray, walk: str, count: int) -> Iterator[Any]:
    """Places on disk that each batch reads, ascending."""
    random = np.random.default_rng(1)
    places, n, targets = inverse_of(order), len(order), BATCH // 2
    starts = random.permutation(np.arange(0, n - targets + 1, WALKED))
    for step in range(count):
        if walk == "anywhere":
            at = random.choice(n, targets, replace=False)
        else:
            start = starts[step * targets // WALKED % len(starts)]
            at = random.choice(np.arange(start, min(start + WALKED, n)), targets, replace=False)
        rows = order[at]
        drawn = pairs.ids[rows, random.integers(0, pairs.k, targets)]
        yield np.unique(np.concatenate((at, places[drawn[drawn >= 0]])))


def reads(pairs: helip.HardPairs, order: np.ndarray, walk: str, arguments: Any) -> dict[str, float]:
    seeks, gaps = [], []
    for at in batches(pairs, order, walk, arguments.batches):
        between = (np.diff(at) - 1) * arguments.bytes
        seeks.append(1 + int((between > arguments.readahead).sum()))
        gaps.append(between)
    return {
        "seeks_a_batch": float(np.mean(seeks)),
        "median_gap_bytes": float(np.median(np.concatenate(gaps))),
    }


def measure(name: str, pairs: helip.HardPairs, arguments: Any) -> dict[str, Any]:
    started, used = time.perf_counter(), time.process_time()
    order = _core.locality_order(pairs._core)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    cell: dict[str, Any] = {"table": name, "rows": len(pairs), "k": pairs.k, "seconds": seconds}
    cell["processor_seconds"] = used
    for when, rows in (("before", np.arange(len(pairs))), ("after", order)):
        cell[when] = {
            "block": locality(pairs, rows, BLOCKS),
            "within": {block: within(pairs, rows, block) for block in BLOCKS},
            "reads": {
                walk: reads(pairs, rows, walk, arguments) for walk in ("anywhere", "blocks")
            },
        }  # fmt: skip
    return cell


def show(cell: dict[str, Any]) -> None:
    print(
        f"\n{cell['table']}, N = {cell['rows']:,}, k = {cell['k']}: {cell['seconds']:.1f} s, "
        f"{cell['processor_seconds']:.1f} of a core"
    )
    for when in ("before", "after"):
        shares = ", ".join(
            f"{block:,}: {cell[when]['block'][block]:.3f} ({cell[when]['within'][block]:.3f})"
            for block in BLOCKS
        )
        print(f"  {when:<7} in a block of (within) {shares}")
    for walk in ("anywhere", "blocks"):
        words = "; ".join(
            f"{when} {found['seeks_a_batch']:.0f} seeks a batch, gap "
            f"{found['median_gap_bytes'] / 1e6:.2f} MB"
            for when in ("before", "after")
            for found in [cell[when]["reads"][walk]]
        )
        print(f"  targets {walk}: {words}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, nargs="*", default=[50_000])
    add("--planted", type=int, nargs="*", default=[])
    add("--k", type=int, default=50)
    add("--batches", type=int, default=200)
    add("--bytes", type=int, default=64_000, help="of a sample")
    add("--readahead", type=int, default=1_000_000)
    add("--cache", type=Path, default=Path(".cache/bench"), help="where the data are kept")
    add("--out", type=Path, default=Path("build/bench/reshard.json"))
    arguments = parser.parse_args()
    cells = []
    for rows in arguments.rows:
        cells.append(measure("mined", mined(arguments.cache, rows, arguments.k), arguments))
        show(cells[-1])
    for rows in arguments.planted:
        cells.append(measure("planted", planted(rows, arguments.k), arguments))
        show(cells[-1])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"helip": helip.__version__, "cells": cells}) + "\n")


if __name__ == "__main__":
    main()
