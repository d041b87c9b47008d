"""What a rolling memory of M rows finds of the exact pools, and what it costs.

Grown rows (bench/grown.py) go through ``HardPairLoader`` as in training, with frozen embeddings:
each batch of 256 rows is given to a StreamingMiner, and hard pairs are drawn from what it found so
far. Of every target, its pool of that moment is compared with the exact one of the whole data set,
and after each epoch so is the table that grew. Then the memory is filled, its oldest rows leave
``--turns`` times over, and batches are timed against it; what ``--search hnsw`` finds of them is
compared with what the scan finds. Each M and search runs in a process of its own; ``--epochs 0``
measures the time alone. ``--matrices``: the first rows of ``image.npy`` and ``text.npy`` of a
folder, in place of grown ones.

    python bench/streaming_memory.py --rows 60000 --memory 4096 16384 65536 --search scan hnsw
"""

from __future__ import annotations

import argparse
import itertools
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


def matrices(args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    folder = args.matrices or grown_folder(CACHE, args.dims, args.rows)
    image, text = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
    return image[: args.rows], text[: args.rows]


def times(miner: Any, image: Any, text: Any, args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Seconds, wall and CPU, of batches of other rows each, against a memory as full as it gets;
    and what they found, [rows, k]."""
    random, memory = np.random.default_rng(0), miner.options["memory"]
    order = random.permutation(args.rows)
    came = np.concatenate([order, *(random.permutation(args.rows) for _ in range(99))])
    came = came[: int(args.rows if memory >= args.rows else memory * (1 + args.turns))]
    for first in range(0, len(came), args.block):
        rows = np.unique(came[first : first + args.block])
        miner.remember(rows, image[rows], text[rows])
    walls, cpus, found = [], [], []
    for first in range(0, args.batches * args.batch, args.batch):
        rows = order[first : first + args.batch]
        given = image[rows], text[rows]
        start, cpu = time.perf_counter(), time.process_time()
        found.append(miner.add(rows, *given).ids)
        walls.append(time.perf_counter() - start)
        cpus.append(time.process_time() - cpu)
    return walls, cpus, np.concatenate(found)


def child(args: argparse.Namespace, memory: int) -> None:
    """One measured run; prints JSON."""
    image, text = matrices(args)
    exact = np.load(args.exact / "exact.npy") if args.epochs else None
    (search,) = args.search
    miner = helip.StreamingMiner(memory=memory, k=args.k, threads=args.threads, search=search)
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
    walls, cpus, found = times(miner, image, text, args)
    grown = anonymous() - before
    scanned = args.exact / f"scan-{memory}.npy"
    if search == "scan":
        np.save(scanned, found)
    part, whole = hits(found, np.load(scanned)) if scanned.exists() else (0, 0)
    dims = image.shape[1] + text.shape[1]
    print(
        json.dumps(
            {
                "memory": memory,
                "search": search,
                "recall_of_scan": part / whole if whole else None,
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


def run(args: argparse.Namespace, memory: int, search: str, exact: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", str(memory), "--exact", str(exact)]
    command += ["--search", search]
    for name in (
        *("rows", "k", "batch", "hard_per_target", "epochs", "threads", "short", "batches"),
        *("turns", "block", "matrices"),
    ):
        if getattr(args, name) is not None:
            command += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    command += ["--dims", "x".join(map(str, args.dims))]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


def show(result: dict[str, Any], batch: int) -> None:
    for number, epoch in enumerate(result["epochs"], start=1):
        print(
            f"{result['memory']:8,} {result['search']}  epoch {number}: recall of batches "
            f"{epoch['batch_recall']:.3f}, of the table {epoch['table_recall']:.3f}; "
            f"{epoch['known']:,} rows known, "
            f"{epoch['plain_targets']:,} plain targets"
        )
    milliseconds = sorted(1e3 * seconds for seconds in result["seconds_a_batch"])
    print(
        f"{result['memory']:8,} {result['search']}  "
        f"{statistics.median(milliseconds):.1f} ms a batch "
        f"({milliseconds[0]:.1f} ... {milliseconds[-1]:.1f}), "
        f"{statistics.median(milliseconds) / batch:.3f} ms a row, CPU "
        f"{1e3 * statistics.median(result['cpu_seconds_a_batch']):.1f} ms a batch, "
        f"{result['bytes']['grown'] / 2**20:,.0f} MiB, {result['recall_of_scan']} of the scan",
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
    parser.add_argument("--search", choices=["scan", "hnsw"], nargs="+", default=["scan"])
    parser.add_argument("--turns", type=float, default=1, help="times that the memory is replaced")
    parser.add_argument("--block", type=int, default=BLOCK, help="rows that come at once before")
    parser.add_argument("--matrices", type=Path, help="a folder of image.npy and text.npy")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("streaming.json"))
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--exact", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args, args.child)
        return
    image, text = matrices(args)
    args.dims = image.shape[1], text.shape[1]
    results, seconds = [], None
    with tempfile.TemporaryDirectory() as name:
        exact = Path(name)
        if args.epochs:
            start = time.perf_counter()
            table = helip.mine(
                image=image, text=text, k=args.k, device="cpu", threads=args.threads, progress=False
            )
            seconds = time.perf_counter() - start
            print(f"{args.rows:,} rows, exact mining of all: {seconds:.1f} s")
            np.save(exact / "exact.npy", table.ids)
        for memory, search in itertools.product(args.memory, args.search):
            results.append(run(args, memory, search, exact))
            show(results[-1], args.batch)
            options = {name: getattr(args, name) for name in (
                *("rows", "dims", "k", "batch", "hard_per_target", "short", "threads"),
                *("turns", "block"),
            )}  # fmt: skip
            args.out.write_text(
                json.dumps({**options, "exact_seconds": seconds, "results": results}, indent=1)
                + "\n"
            )


if __name__ == "__main__":
    main()
