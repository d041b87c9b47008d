"""Hard negatives of queries in a corpus: helip beside faiss and a blocked product of torch.

    python bench/negatives.py --queries 20000 --rows 500000
    python bench/negatives.py --source build/bench/photographs --modality text --queries 7000

Each side gets the same float32 unit rows in memory and the same cores, and leaves the positive of
each query out: helip by its rules (near duplicates count, ``text_max`` is 1), the others by one row
more. torch is the loop of ``sentence_transformers.util.semantic_search``, faiss an exact
``IndexFlatIP``; both solve a fixed part of the queries, and their time is scaled, which is exact to
a few percent since each query costs the same. Sides alternate. The share of the pairs of torch that
a side has is its recall. Without ``--source`` rows of 768 float16 are grown
(``partition_growth.py``).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from partition_growth import grown_store

import helip

_BLOCK = 65_536  # rows of the corpus that torch multiplies at once
_QUERIES = 1024  # queries, likewise


def unit_rows(arguments: argparse.Namespace) -> np.ndarray:
    """The queries, then the corpus, drawn from all rows."""
    count = arguments.queries + arguments.rows
    if arguments.source is None:
        store = helip.EmbeddingStore.open(grown_store(arguments.cache / "grown", 1_000_000))
        rows: Any = store.text_tensor[:count].numpy()
    else:
        rows = np.load(arguments.source / f"{arguments.modality}.npy", mmap_mode="r")
    order = np.random.default_rng(0).permutation(len(rows))[:count]
    chosen = np.asarray(rows[order], np.float32)
    return chosen / np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-12)


def by_helip(method: str) -> Callable[..., np.ndarray]:
    def mined(queries: np.ndarray, corpus: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
        found = helip.mine(
            queries=queries, corpus=corpus, positives=own, k=k, text_max=1.0, method=method,
            progress=False,
        )  # fmt: skip
        print("  ", {name: found.report[name] for name in ("recall", "partition", "filters")
                     if name in found.report})  # fmt: skip
        return np.asarray(found.ids)

    return mined


def without(ids: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    kept = [row[row != positive][:k] for row, positive in zip(ids, own, strict=True)]
    return np.stack(kept)


def by_torch(queries: np.ndarray, corpus: np.ndarray, own: np.ndarray, k: int) -> np.ndarray:
    found = []
    for start in range(0, len(queries), _QUERIES):
        part = torch.from_numpy(queries[start : start + _QUERIES])
        scores, ids = torch.empty(len(part), 0), torch.empty(len(part), 0, dtype=torch.int64)
        for at in range(0, len(corpus), _BLOCK):
            products = part @ torch.from_numpy(corpus[at : at + _BLOCK]).T
            best = torch.topk(products, min(k + 1, products.shape[1]), dim=1)
            scores = torch.cat([scores, best.values], dim=1)
            ids = torch.cat([ids, best.indices + at], dim=1)
            kept = torch.topk(scores, min(k + 1, scores.shape[1]), dim=1)
            scores, ids = kept.values, torch.gather(ids, 1, kept.indices)
        found.append(ids.numpy())
    return without(np.concatenate(found), own, k)


class ByFaiss:
    """The index is filled once, and no part of what is scaled."""

    def __init__(self, corpus: np.ndarray) -> None:
        begun = time.perf_counter()
        self._index = faiss.IndexFlatIP(corpus.shape[1])
        self._index.add(corpus)
        self.filling = time.perf_counter() - begun

    def __call__(
        self, queries: np.ndarray, corpus: np.ndarray, own: np.ndarray, k: int
    ) -> np.ndarray:
        return without(self._index.search(queries, k + 1)[1], own, k)


SIDES: dict[str, Callable[..., np.ndarray]] = {
    "exact": by_helip("exact"), "partition": by_helip("partition"), "torch": by_torch,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", type=Path)
    parser.add_argument("--modality", choices=("image", "text"), default="text")
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--part", type=int, default=2048, help="queries of torch and faiss")
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/negatives.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.cores)
    faiss.omp_set_num_threads(arguments.cores)
    rows = unit_rows(arguments)
    queries, corpus = rows[: arguments.queries], rows[arguments.queries :]
    SIDES["faiss"] = index = ByFaiss(corpus)
    own = np.random.default_rng(1).integers(0, len(corpus), len(queries))
    part = min(arguments.part, len(queries))
    seconds: dict[str, list[float]] = {name: [] for name in SIDES}
    recalls: dict[str, float] = {}
    for repeat in range(arguments.repeats):
        found = {}
        for name in sorted(SIDES, reverse=repeat % 2 == 1):
            some = len(queries) if name in ("exact", "partition") else part
            begun = time.perf_counter()
            ids = SIDES[name](queries[:some], corpus, own[:some], arguments.k)
            spent = (time.perf_counter() - begun) * len(queries) / some
            seconds[name].append(spent + (index.filling if name == "faiss" else 0.0))
            found[name] = ids[:part]
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
        for name, ids in found.items():
            same = [len(np.intersect1d(*each)) for each in zip(ids, found["torch"], strict=True)]
            recalls[name] = sum(same) / found["torch"].size
    ratios = {
        name: [other / own for other, own in zip(seconds["torch"], seconds[name], strict=True)]
        for name in SIDES
    }
    for name in SIDES:
        print(
            f"{name}: {statistics.median(seconds[name]):.1f} s, {ratios[name]} times as fast as "
            f"torch, recall {recalls[name]:.4f}"
        )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {"queries": len(queries), "rows": len(corpus), "dims": rows.shape[1], "k": arguments.k}
    arguments.out.write_text(
        json.dumps({**facts, "seconds": seconds, "ratios": ratios, "recalls": recalls}, indent=1)
    )


if __name__ == "__main__":
    main()
