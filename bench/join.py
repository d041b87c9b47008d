"""How long joining two tables of hard pairs takes, and how much memory.

    python bench/join.py --rows 1000000 --k 50

Makes two tables of random pools under ``--cache``, once. A process of its own joins them into a
third: seconds, processor seconds, and its memory without the pages of the maps. Prints a line,
writes JSON beside.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from own_process import measured

import helip


def table_at(path: Path, rows: int, k: int, seed: int) -> Path:
    if not path.exists():
        random = np.random.default_rng(seed)
        target = np.arange(rows, dtype=np.int64)[:, None]
        # Steps of their own, so that no pool has a row twice and the two have some in common.
        steps = np.sort(random.choice(4 * k, k, replace=False) + 1)
        ids = ((target + steps * (1 + target % 3)) % rows).astype(np.int32)
        scores = -np.sort(-random.random((rows, k), dtype=np.float32), axis=1)
        helip.HardPairs.from_arrays(ids, scores).save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/join.json"))
    asked = parser.parse_args()
    place = asked.cache / f"join-{asked.rows}-k{asked.k}"
    tables = [table_at(place / str(seed), asked.rows, asked.k, seed) for seed in range(2)]
    both = place / "both"
    shutil.rmtree(both, ignore_errors=True)
    found: dict[str, float] = {"rows": asked.rows, "k": asked.k}
    found |= measured(
        "import helip; pairs = helip.HardPairs.open(sys.argv[1])",
        "pairs.join(sys.argv[2], out=sys.argv[3], progress=False)",
        *tables,
        both,
    )
    found["duplicates"] = helip.HardPairs.open(both).report["join"]["duplicates"]
    print(
        f"{found['seconds']:.1f} s, {found['processor_seconds']:.1f} s of processor, "
        f"{found['extra_bytes'] / 1e6:,.0f} MB of memory beyond what it had, "
        f"{found['duplicates']:,} duplicates"
    )
    shutil.rmtree(both)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
