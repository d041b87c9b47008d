"""Peak memory of mining a store that is larger than the bound: ``memory=`` against what it took.

    python bench/memory.py

A store of ``--rows`` rows of 384 + 768 float16 is mined by each method in a process of its own,
the table streamed to disk. Peaks are those of anonymous and shared memory (``watch.py``): pages of
the store and of scratch files, which the system takes back when it likes, are not in them, but are
in ``resident``, the peak of everything. ``at start`` is what Python, torch and helip take before.

The rows are the grown embeddings of ``grown.py`` under fixed random maps: 1280 dimensions of images
through an orthonormal projection to 384, which keeps cosines up to a few hundredths, and 384 of
text through an isometry into 768, which keeps them; neighbourhoods stay those of real data.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

METHODS = ("partition", "exact", "hnsw", "sample")
DIMS = (384, 768)
BLOCK = 16_384
GOAL = 1.2  # of the bound


def child(arguments: argparse.Namespace) -> None:
    from watch import held

    import helip

    store = helip.EmbeddingStore.open(arguments.store)
    print(json.dumps({"held": held()}), flush=True)
    started = time.perf_counter()
    pairs = helip.mine(
        store, k=arguments.k, method=arguments.child, memory=arguments.memory,
        threads=arguments.threads, device="cpu", out=arguments.table, keep_codes=False,
        progress=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    known = {name: pairs.report[name] for name in ("recall", "partition") if name in pairs.report}
    print(json.dumps({"seconds": seconds, **known}), flush=True)


def half_store(cache: Path, rows: int) -> Path:
    """The store, made on first use: whole or not at all."""
    from grown import grown_folder, published, unit

    import helip

    path = cache / f"{DIMS[0]}x{DIMS[1]}-{rows}-float16.store"
    if path.exists():
        return path
    data = grown_folder(cache, (1280, 384), rows)
    image, text = (np.load(data / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
    random = np.random.default_rng(0)
    to_image = np.linalg.qr(random.normal(size=(image.shape[1], DIMS[0])))[0].astype(np.float32)
    to_text = np.linalg.qr(random.normal(size=(DIMS[1], text.shape[1])))[0].T.astype(np.float32)
    with (
        published(path) as staging,
        helip.EmbeddingStore.create(
            staging, image_dim=DIMS[0], text_dim=DIMS[1], dtype="float16"
        ) as writer,
    ):
        for first in range(0, rows, BLOCK):
            part = slice(first, min(first + BLOCK, rows))
            keys = [str(row) for row in range(part.start, part.stop)]
            writer.append(keys, unit(image[part] @ to_image), text[part] @ to_text)
    return path


def start(method: str, store: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    from watch import Watched

    with tempfile.TemporaryDirectory(dir=arguments.scratch or arguments.cache) as folder:
        watched = Watched(
            [
                sys.executable, __file__, "--child", method, "--store", str(store),
                "--table", f"{folder}/table", "--k", str(arguments.k),
                "--memory", arguments.memory, "--threads", str(arguments.threads),
            ],
            environment={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)},
            seconds=arguments.limit,
        )  # fmt: skip
        said: dict[str, Any] = {}
        for line in watched.lines():
            if line.startswith('{"'):
                said.update(json.loads(line))
    if watched.status != 0 and not watched.ended:
        raise SystemExit(f"{method} failed with status {watched.status}\n{watched.errors}")
    return {
        "method": method,
        "seconds": said.get("seconds"),
        "start_mb": said["held"] / 1e6,
        "peak_mb": watched.most / 1e6,
        "extra_mb": (watched.most - said["held"]) / 1e6,
        "resident_mb": watched.resident / 1e6,
        "ended": watched.ended,
        **{name: said[name] for name in ("recall", "partition") if name in said},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, default=1_000_000)
    add("--k", type=int, default=50)
    add("--memory", default="1GB", help="the bound that mining is given")
    add("--methods", nargs="+", choices=METHODS, default=list(METHODS[:2]))
    add("--threads", type=int, default=2)
    add("--limit", type=float, default=3600, metavar="SECONDS", help="of a method")
    add("--cache", type=Path, default=Path(".cache/bench"), help="where the data are kept")
    add("--scratch", type=Path, help="where tables and scratch files go for a while")
    add("--out", type=Path, default=Path("build/bench/memory.json"))
    add("--child", help=argparse.SUPPRESS)
    add("--store", help=argparse.SUPPRESS)
    add("--table", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return

    from helip.common.quantities import parse_bytes

    store = half_store(arguments.cache, arguments.rows)
    bound = parse_bytes(arguments.memory) / 1e6
    print(f"{arguments.rows:,} rows, {DIMS[0]} + {DIMS[1]} float16, k = {arguments.k}, "
          f"memory = {bound:.0f} MB, {arguments.threads} threads; MB")  # fmt: skip
    print(f"{'method':<11}{'seconds':>9}{'at start':>10}{'peak':>8}{'beyond start':>14}"
          f"{'peak / bound':>14}{'resident':>10}")  # fmt: skip
    runs = []
    for method in arguments.methods:
        run = start(method, store, arguments)
        runs.append(run)
        seconds = "-" if run["seconds"] is None else f"{run['seconds']:.1f}"
        over = run["peak_mb"] / bound
        print(
            f"{method:<11}{seconds:>9}{run['start_mb']:>10.0f}{run['peak_mb']:>8.0f}"
            f"{run['extra_mb']:>14.0f}{over:>14.2f}{run['resident_mb']:>10.0f}  "
            + (run["ended"] or f"at most {GOAL} is {'met' if over <= GOAL else 'NOT met'}"),
            flush=True,
        )
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(
            json.dumps({"rows": arguments.rows, "bound_mb": bound, "runs": runs}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
