"""What opening a store costs: writes one of about --gigabytes, opens it in a new process.

python bench/open_store.py --gigabytes 10
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import helip

D_IMAGE, D_TEXT, BLOCK = 1024, 512, 4096

OPEN = """
import json, sys, time
from pathlib import Path
import helip

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4

before, started = resident(), time.perf_counter()
store = helip.EmbeddingStore.open(sys.argv[1])
seconds = time.perf_counter() - started
print(json.dumps({"rows": len(store), "milliseconds": 1e3 * seconds, "kb": resident() - before}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, help="where the store goes for a while")
    parser.add_argument("--out", type=Path, default=Path("build/bench/open_store.json"))
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    image = random.normal(size=(BLOCK, D_IMAGE)).astype(np.float32)
    text = random.normal(size=(BLOCK, D_TEXT)).astype(np.float32)
    rows = int(arguments.gigabytes * 1e9 / (2 * (D_IMAGE + D_TEXT)))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "store"
        with helip.EmbeddingStore.create(
            path, image_dim=D_IMAGE, text_dim=D_TEXT, dtype="float16"
        ) as writer:
            for first in range(0, rows, BLOCK):
                writer.append([str(i) for i in range(first, first + BLOCK)], image, text)
        done = subprocess.run(
            [sys.executable, "-c", OPEN, path], check=True, capture_output=True, text=True
        )
        size = sum(file.stat().st_size for file in path.iterdir())
        shards = len(list(path.glob("shard-*")))
    result = {"bytes": size, "shards": shards, **json.loads(done.stdout)}
    print(
        f"{size / 2**30:.1f} GiB, {result['rows']:,} rows, {shards} shards: opened in "
        f"{result['milliseconds']:.2f} ms, {result['kb']} KB resident"
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
