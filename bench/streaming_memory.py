"""What a rolling memory of M rows finds of the exact pools, and what it costs.

Grown rows (bench/grown.py) go through ``HardPairLoader`` as in training, with frozen embeddings:
each batch of 256 rows is given to a StreamingMiner, and hard pairs are drawn from what it found so
far. Of every target, its pool of that moment is compared with the exact one of the whole data set,
and after each epoch so is the table that grew. Then batches are timed against a full memory. Each M
runs in a process of its own; ``--epochs 0`` measures the time alone.

    python bench/streaming_memory.py --rows 60000 --memory 4096 16384 65536
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from grown import grown_folder

import helip

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench"
BLOCK = 8192


class Rows:
    """A data set of row numbers alone."""

    fingerprint = ""

    def __init__(self, rows: int) -> None:
        self.keys = range(rows)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"image": row, "text": ""}


def hits(found: np.ndarray, exact: np.ndarray) -> tuple[int, int]:
    """(pairs of the exact pools [n, k] that ``found`` [n, k] holds, their number)."""
    same = (found[:, :, None] == exact[:, None, :]) & (exact[:, None, :] >= 0)
    return int(same.sum()), int((exact >= 0).sum())


def recall_of(pairs: Any, exact: np.ndarray) -> float:
    """Of the table that grew."""
    counts = np.zeros(2, np.int64)
    for first in range(0, len(exact), BLOCK):
        rows = np.arange(first, min(first + BLOCK, len(exact)))
        counts += hits(pairs.pools(rows).ids, exact[rows])
    return float(counts[0] / counts[1])


def anonymous() -> int:
    """Bytes of this process that lie in memory, without those of mapped files."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


def times(miner: Any, image: Any, text: Any, args: argparse.Namespace) -> list[list[float]]:
    """Seconds, wall and CPU, of batches of other rows each, against a memory as full as it gets."""
    order = np.random.default_rng(0).permutation(args.rows)
    for first in range(0, args.rows if len(miner) < miner.options["memory"] else 0, BLOCK):
        rows = order[first : first + BLOCK]
        miner.remember(rows, image[rows], text[rows])
    walls, cpus = [], []
    for first in range(0, args.batches * args.batch, args.batch):
        rows = order[first : first + args.batch]
        given = image[rows], text[rows]
        start, cpu = time.perf_counter(), time.process_time()
        miner.add(rows, *given)
        walls.append(time.perf_counter() - start)
        cpus.append(time.process_time() - cpu)
    return [walls, cpus]


def child(args: argparse.Namespace, memory: int) -> None:
    """One measured run; prints JSON."""
    folder = grown_folder(CACHE, args.dims, args.rows)
    image, text = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
    exact = np.load(args.exact)
    miner = helip.StreamingMiner(memory=memory, k=args.k, threads=args.threads)
    loader = helip.HardPairLoader(
        Rows(args.rows),
        miner,
        batch_size=args.batch,
        hard_per_target=args.hard_per_target,
        short=args.short,
    )
    warm = miner.add(np.arange(1), np.ascontiguousarray(image[:1]), np.ascontiguousarray(text[:1]))
    assert warm.counts.tolist() == [0]
    miner.forget()
    epochs, before = [], anonymous()
    for _ in range(args.epochs):
        counts = np.zeros(2, np.int64)
        for batch in loader:
            rows = batch["index"].numpy()
            found = miner.add(rows, image[rows], text[rows])
            targets = batch["target"].numpy() == np.arange(len(rows))
            counts += hits(found.ids[targets], exact[rows[targets]])
        epochs.append(
            {
                "batch_recall": float(counts[0] / counts[1]),
                "table_recall": recall_of(miner.pairs, exact),
                "known": miner.pairs.known,
                "plain_targets": loader.stats()["plain_targets"],
            }
        )
    walls, cpus = times(miner, image, text, args)
    grown = anonymous() - before
    dims = image.shape[1] + text.shape[1]
    print(
        json.dumps(
            {
                "memory": memory,
                "remembered": len(miner),
                "bytes": {
                    "rows": min(memory, args.rows) * (4 * dims + 80),
                    "table": args.rows * (8 * args.k + 4),
                    "grown": grown,
                },
                "epochs": epochs,
                "seconds_a_batch": walls,
                "cpu_seconds_a_batch": cpus,
            }
        )
    )


def run(args: argparse.Namespace, memory: int, exact: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(memory), "--exact", str(exact)]
    for name in ("rows", "k", "batch", "hard_per_target", "epochs", "threads", "short", "batches"):
        command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    command += ["--dims", "x".join(map(str, args.dims))]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


def show(result: dict[str, Any], batch: int) -> None:
    for number, epoch in enumerate(result["epochs"], start=1):
        print(
            f"{result['memory']:8,}  epoch {number}: recall of batches "
            f"{epoch['batch_recall']:.3f}, of the table {epoch['table_recall']:.3f}; "
            f"{epoch['known']:,} rows known, "
            f"{epoch['plain_targets']:,} plain targets"
        )
    milliseconds = sorted(1e3 * seconds for seconds in result["seconds_a_batch"])
    print(
        f"{result['memory']:8,}  {statistics.median(milliseconds):.1f} ms a batch "
        f"({milliseconds[0]:.1f} ... {milliseconds[-1]:.1f}), "
        f"{statistics.median(milliseconds) / batch:.3f} ms a row, CPU "
        f"{1e3 * statistics.median(result['cpu_seconds_a_batch']):.1f} ms a batch, "
        f"{result['bytes']['grown'] / 2**20:,.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--dims", type=lambda s: tuple(map(int, s.split("x"))), default=(1280, 384))
    parser.add_argument("--memory", type=int, nargs="+", default=[4096, 16384, 65536])
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--batch", type=int, default=256, help="rows, hard pairs included")
    parser.add_argument("--hard-per-target", type=int, default=1)
    parser.add_argument("--short", default="skip", help="what fills places without a hard pair")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batches", type=int, default=15, help="that are timed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("streaming.json"))
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--exact", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args, args.child)
        return
    folder = grown_folder(CACHE, args.dims, args.rows)
    image, text = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
    start = time.perf_counter()
    table = helip.mine(
        image=image, text=text, k=args.k, device="cpu", threads=args.threads, progress=False
    )
    seconds = time.perf_counter() - start
    print(f"{args.rows:,} rows, exact mining of all: {seconds:.1f} s")
    results = []
    with tempfile.TemporaryDirectory() as name:
        exact = Path(name) / "exact.npy"
        np.save(exact, table.ids)
        for memory in args.memory:
            results.append(run(args, memory, exact))
            show(results[-1], args.batch)
            options = {name: getattr(args, name) for name in (
                "rows", "dims", "k", "batch", "hard_per_target", "short", "threads"
            )}  # fmt: skip
            args.out.write_text(
                json.dumps({**options, "exact_seconds": seconds, "results": results}, indent=1)
                + "\n"
            )


if __name__ == "__main__":
    main()
