"""How long joining two tables of hard pairs takes, and how much memory.

    python bench/join.py --rows 1000000 --k 50

Makes two tables of random pools under ``--cache``, once. A process of its own joins them into a
third: seconds, processor seconds, and its anonymous memory, which leaves out pages of the maps that
the system can take back. Prints a line, writes JSON beside.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import helip

JOIN = """
import json, sys, threading, time
from pathlib import Path
import helip

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) * 1024

def watch():
    global most
    while not done.wait(0.01):
        most = max(most, anonymous())

one, other, out = sys.argv[1:]
pairs = helip.HardPairs.open(one)
before = most = anonymous()
done = threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
wall, processor = time.perf_counter(), time.process_time()
both = pairs.join(other, out=out, progress=False)
seconds = time.perf_counter() - wall, time.process_time() - processor
done.set()
watcher.join()
print(json.dumps({"seconds": seconds[0], "processor_seconds": seconds[1],
                  "extra_bytes": most - before, "duplicates": both.report["join"]["duplicates"]}))
"""


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
    done = subprocess.run(
        [sys.executable, "-c", JOIN, *tables, both], check=True, stdout=subprocess.PIPE, text=True
    )
    found = {"rows": asked.rows, "k": asked.k, **json.loads(done.stdout)}
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
