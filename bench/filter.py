"""How long filtering a table takes: pools of random rows, the worst case for reads.

    python bench/filter.py --rows 1000000 --k 50 --dim 512 --dtype float16

Makes a store of random rows and a table of random pools under ``--cache``, once, and filters the
table by it: relative margin and veto, so two cosines a pair, to a new directory. Prints seconds,
processor seconds and the largest resident size of the process, of which mapped pages of the store
are a part; writes JSON beside.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import time
from pathlib import Path

import numpy as np

import helip

_BLOCK = 1 << 16


def store_at(path: Path, rows: int, dim: int, dtype: str) -> helip.EmbeddingStore:
    if path.exists():
        return helip.EmbeddingStore.open(path)
    random = np.random.default_rng(0)
    with helip.EmbeddingStore.create(path, image_dim=dim, text_dim=dim, dtype=dtype) as writer:
        for first in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - first)
            text = random.standard_normal((count, dim), dtype=np.float32)
            image = text + 2 * random.standard_normal((count, dim), dtype=np.float32)
            writer.append([str(row) for row in range(first, first + count)], image, text)
        return writer.commit()


def table_at(path: Path, store: helip.EmbeddingStore, k: int) -> helip.HardPairs:
    if path.exists():
        return helip.HardPairs.open(path)
    random = np.random.default_rng(1)
    rows = len(store)
    ids = random.integers(0, rows - 1, (rows, k), dtype=np.int32)
    ids += ids >= np.arange(rows, dtype=np.int32)[:, None]
    scores = np.broadcast_to(np.linspace(1, 0.1, k, dtype=np.float32), ids.shape)
    helip.HardPairs.from_arrays(ids, scores, data_fingerprint=store.keys_fingerprint).save(path)
    return helip.HardPairs.open(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--cache", type=Path, default=Path("bench-cache"))
    parser.add_argument("--out", type=Path, default=Path("filter.json"))
    asked = parser.parse_args()
    name = f"filter-{asked.rows}-{asked.dim}-{asked.dtype}"
    store = store_at(asked.cache / name, asked.rows, asked.dim, asked.dtype)
    table = table_at(asked.cache / f"{name}-k{asked.k}", store, asked.k)
    out = asked.cache / f"{name}-out"
    shutil.rmtree(out, ignore_errors=True)
    wall, cpu = time.perf_counter(), time.process_time()
    new = table.filter(
        by=store, relative_margin=0.05, veto="mean", threads=asked.threads, out=out, progress=False
    )
    result = {
        "rows": asked.rows,
        "k": asked.k,
        "dim": asked.dim,
        "dtype": asked.dtype,
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - cpu,
        "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "flagged": new.report["filter"][0]["flagged"],
    }
    shutil.rmtree(out)
    print(
        "  ".join(
            f"{n} {v:,.1f}" if isinstance(v, float) else f"{n} {v}" for n, v in result.items()
        )
    )
    asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
