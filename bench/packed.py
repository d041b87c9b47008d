"""Packed shards (``helip pack``) against the JPEG shards that they were made of.

    python bench/packed.py --size 500 --pictures 2048

Both are read by the core's reader as batches of normalised float32 tensors of 224 px, rows at
random, files in memory (``pictures.py`` makes the pictures). Sides alternate; each is warmed by one
pass. Printed: pictures/s of the whole machine and a second of processor time, their ratio, and the
bytes of each on disk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from picture_batches import read_all, ready_reader
from pictures import pictures_of

import helip
from helip.common.machine import processor_name, usable_processors


def measured(data: helip.data.Dataset, rows: np.ndarray, threads: int) -> tuple[float, float]:
    """Pictures a second of the clock, and of processor time."""
    reader = ready_reader(data, threads)
    began, spent = time.perf_counter(), time.process_time()
    read_all(reader, rows)
    spans = time.perf_counter() - began, time.process_time() - spent
    reader.clear()
    return len(rows) / spans[0], len(rows) / spans[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=500, help="shorter side of the JPEGs, pixels")
    parser.add_argument("--packed", type=int, default=256, help="shorter side of packed pictures")
    parser.add_argument("--pictures", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_processors())
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, help="JSON of what was measured")
    args = parser.parse_args()
    pictures = pictures_of(args.cache, args.size, args.pictures)
    out = args.cache / f"packed-{args.size}-{args.packed}-{args.pictures}"
    if not out.exists():
        began = time.perf_counter()
        helip.pack(pictures.shards, out=out, size=args.packed, threads=args.threads)
        print(f"packed: {args.pictures / (time.perf_counter() - began):,.0f} pictures/s")
    shards = {"JPEG": pictures.shards, "packed": [str(path) for path in sorted(out.glob("*.tar"))]}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in shards}
    rng = np.random.default_rng(0)
    for repeat in range(args.repeats + 1):
        rows = rng.permutation(args.pictures)
        for name, paths in shards.items():
            rates = measured(helip.open_dataset(paths, progress=False), rows, args.threads)
            if repeat:
                found[name].append(rates)
    record = {
        "processor": processor_name(), "threads": args.threads, "pictures": args.pictures,
        "size": args.size, "packed": args.packed, "rates": found,
        "bytes": {
            name: sum(Path(path).stat().st_size for path in paths)
            for name, paths in shards.items()
        },
    }  # fmt: skip
    for name, rates in found.items():
        clock, cpu = (statistics.median(each) for each in zip(*rates, strict=True))
        kilobytes = record["bytes"][name] / args.pictures / 1000
        print(f"{name:8}{clock:9,.0f} /s{cpu:9,.0f} /core s{kilobytes:8.0f} KB a picture")
    ratios = [b[1] / a[1] for a, b in zip(found["JPEG"], found["packed"], strict=True)]
    print(f"packed / JPEG: {statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})")
    if args.out:
        args.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
