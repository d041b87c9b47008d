"""How long a table of hard pairs takes to a Parquet file, and how much memory.

    python bench/to_parquet.py --rows 1000000 --k 50

Makes a table of random pools under ``--cache``, once, and with ``--dim`` also a store of random
rows, whose keys and similarities are then written too. Each layout is written by a process of its
own: seconds, processor seconds, size of the file, and the most memory of the process beyond what
it had before, without the pages of the maps.
Prints a table, writes JSON beside.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from own_process import measured

import helip

_BLOCK = 1 << 16


def store_at(path: Path, rows: int, dim: int) -> helip.EmbeddingStore:
    if path.exists():
        return helip.EmbeddingStore.open(path)
    random = np.random.default_rng(0)
    with helip.EmbeddingStore.create(path, image_dim=dim, text_dim=dim, dtype="float16") as writer:
        for first in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - first)
            image, text = random.standard_normal((2, count, dim), dtype=np.float32)
            writer.append([f"{row:09d}" for row in range(first, first + count)], image, text)
        return writer.commit()


def table_at(path: Path, rows: int, k: int, fingerprint: str) -> None:
    if path.exists():
        return
    random = np.random.default_rng(1)
    ids = random.integers(0, rows - 1, (rows, k), dtype=np.int32)
    ids += ids >= np.arange(rows, dtype=np.int32)[:, None]
    scores = -np.sort(-random.random((rows, k), dtype=np.float32), axis=1)
    helip.HardPairs.from_arrays(ids, scores, fingerprint=fingerprint).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--dim", type=int, help="of a store; without, there is none")
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/to_parquet.json"))
    asked = parser.parse_args()
    name, store, fingerprint = f"parquet-{asked.rows}-{asked.dim or 0}", "", ""
    if asked.dim:
        made = store_at(asked.cache / name, asked.rows, asked.dim)
        store, fingerprint = made.path, made.fingerprint
    table = asked.cache / f"{name}-k{asked.k}"
    table_at(table, asked.rows, asked.k, fingerprint)
    results = []
    for layout in ("long", "nested"):
        out = asked.cache / f"{name}-{layout}.parquet"
        found: dict[str, Any] = {"layout": layout, "rows": asked.rows, "k": asked.k}
        found |= {"dim": asked.dim or 0}
        found |= measured(
            "import helip, pyarrow.parquet\n"
            "pairs = helip.HardPairs.open(sys.argv[1], store=sys.argv[2] or None)",
            "pairs.to_parquet(sys.argv[4], layout=sys.argv[3], overwrite=True)",
            table, store, layout, out,
        )  # fmt: skip
        found["bytes"] = out.stat().st_size
        results.append(found)
        print(
            f"{layout:<7} {found['seconds']:6.1f} s, {found['processor_seconds']:6.1f} s of "
            f"processor, {found['bytes'] / 1e6:,.0f} MB, {found['extra_bytes'] / 1e6:,.0f} MB of "
            f"memory beyond what it had, {found['peak_bytes'] / 1e6:,.0f} MB in all"
        )
        out.unlink()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
