"""How long `helip.curate` takes: clustered rows, of which a tenth have captions of others.

    python bench/curate.py --rows 50000 --dim 128

Makes a store and a table of its hard pairs under ``--cache``, once, and curates them, without a
page. Prints seconds, processor seconds, the largest resident size of the process, of which mapped
pages of the store are a part, and what was found; writes JSON beside.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np

import helip
from helip.data.dataset import KeyedDataset
from helip.data.packed_strings import KeyList

_BLOCK = 1 << 16
_ROWS_OF_TOPIC = 50


class Rows(KeyedDataset):
    """Keys alone: without a page nothing else is read."""

    def __init__(self, keys: list[str]) -> None:
        self.max_pixels, self.max_seconds = 1, 1.0
        self._take_keys(KeyList.from_strings(keys))

    def _read_image(self, row: int) -> object:
        raise AssertionError("without a page no picture is read")

    def _read_caption(self, row: int) -> str:
        return self.keys[row]


def store_at(path: Path, rows: int, dim: int) -> helip.EmbeddingStore:
    if path.exists():
        return helip.EmbeddingStore.open(path)
    random = np.random.default_rng(0)
    topics = random.standard_normal((2, max(rows // _ROWS_OF_TOPIC, 1), dim), dtype=np.float32)
    with helip.EmbeddingStore.create(path, image_dim=dim, text_dim=dim, dtype="float16") as writer:
        for first in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - first)
            topic = random.integers(0, topics.shape[1], count)
            image, text = (
                side[topic] + random.standard_normal((count, dim), dtype=np.float32)
                for side in topics
            )
            wrong = random.choice(count, count // 10, replace=False)
            text[wrong] = text[np.roll(wrong, 1)]
            writer.append([str(row) for row in range(first, first + count)], image, text)
    return helip.EmbeddingStore.open(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--cache", type=Path, default=Path("bench-cache"))
    parser.add_argument("--out", type=Path, default=Path("curate.json"))
    args = parser.parse_args()
    name = f"curate-{args.rows}x{args.dim}"
    store = store_at(args.cache / f"{name}.store", args.rows, args.dim)
    pairs = helip.mine(store, k=20, out=args.cache / f"{name}.pairs", device="cpu", progress=False)
    data = Rows(list(store.keys))
    began, spent = time.perf_counter(), time.process_time()
    found = helip.curate(pairs, data, store=store, threads=args.threads, progress=False)
    told = {
        "rows": args.rows,
        "dim": args.dim,
        "seconds": time.perf_counter() - began,
        "processor_seconds": time.process_time() - spent,
        "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "found": found.to_dict(),
    }
    args.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
