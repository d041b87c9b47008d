"""What it takes to plan the batches of an epoch: seconds and memory by the number of rows.

    python bench/batch_plan.py --rows 1000000 10000000

A table of random pools: half of a row's hard pairs lie within 32 rows of it, so that communities
find each other, the rest anywhere. It is made on first use, and read from the disk's cache. Each
plan is made in a process of its own; ``extra_bytes`` is what it takes beyond a process that has
opened the table.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from grown import published
from own_process import measured

import helip

PREPARE = "import helip; pairs = helip.HardPairs.open(sys.argv[1])"
CALL = """
plan = helip.plan_batches(pairs, out=sys.argv[2], batch_size=int(sys.argv[3]), progress=False)
"""


def random_table(cache: Path, rows: int, k: int) -> Path:
    """The table, made on first use: whole or not at all."""
    path = cache / f"random-pairs-{rows}-{k}"
    if path.exists():
        return path / "pairs"
    random = np.random.default_rng(rows)
    own = np.arange(rows, dtype=np.int32)[:, None]
    near = own + random.permuted(np.r_[-32:0, 1:33].astype(np.int32))[: k // 2]
    far = random.integers(0, rows, (rows, k - k // 2), dtype=np.int32)
    ids = np.concatenate([near % rows, np.where(far == own, (far + 999) % rows, far)], axis=1)
    scores = np.broadcast_to(np.linspace(0.9, 0.5, k, dtype=np.float32), ids.shape)
    with published(path) as staging:
        helip.HardPairs.from_arrays(ids, scores).save(staging / "pairs")
    return path / "pairs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("-k", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/batch_plan.json"))
    arguments = parser.parse_args()
    runs = []
    print(f"{'rows':>12}{'seconds':>9}{'extra MB':>10}{'peak MB':>9}{'plan MB':>9}"
          f"{'hard rows a row':>17}")  # fmt: skip
    for rows in arguments.rows:
        table = random_table(arguments.cache, rows, arguments.k)
        with tempfile.TemporaryDirectory(dir=arguments.cache) as folder:
            out = Path(folder) / "plan"
            run = {"rows": rows, **measured(PREPARE, CALL, table, out, arguments.batch_size)}
            run["plan_bytes"] = sum(path.stat().st_size for path in out.iterdir())
            counts = helip.BatchPlan.open(out).counts()
        run["hard_rows"] = counts["hard_rows"] / counts["rows"]
        runs.append(run)
        print(f"{rows:>12,}{run['seconds']:>9.1f}{run['extra_bytes'] / 1e6:>10,.0f}"
              f"{run['peak_bytes'] / 1e6:>9,.0f}{run['plan_bytes'] / 1e6:>9,.0f}"
              f"{run['hard_rows']:>17.2f}", flush=True)  # fmt: skip
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        asked = {name: str(value) for name, value in vars(arguments).items()}
        arguments.out.write_text(json.dumps({"arguments": asked, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
