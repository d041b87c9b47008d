"""How the time of ``partition`` grows with the number of rows: the exponent between sizes.

    python bench/partition_growth.py --rows 1000000 4000000

Stores of 384 + 768 float16 are made of grown rows (``grown.py``), block by block, each block with a
seed of its own, so that the rows of the smaller store are the first of the larger. Each is mined in
a process of its own, its table streamed to disk. The exponent of a size is
log(time / time of the first) / log(rows / rows of the first), of wall and of processor time.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from grown import base, grow, published
from own_process import measured

import helip

DIMS = (384, 768)
BLOCK = 50_000

PREPARE = "import helip; store = helip.EmbeddingStore.open(sys.argv[1])"
CALL = """
pairs = helip.mine(
    store, k=int(sys.argv[3]), method="partition", recall=float(sys.argv[4]), device="cpu",
    threads=int(sys.argv[5]), memory=sys.argv[6] or None, out=sys.argv[2], keep_codes=False,
    progress=False,
)
"""


def grown_store(cache: Path, rows: int) -> Path:
    """The store, made on first use: whole or not at all."""
    path = cache / f"grown-{DIMS[0]}x{DIMS[1]}-{rows}.store"
    if path.exists():
        return path
    image, text = base(cache, DIMS)
    with (
        published(path) as staging,
        helip.EmbeddingStore.create(
            staging, image_dim=DIMS[0], text_dim=DIMS[1], dtype="float16"
        ) as writer,
    ):
        for first in range(0, rows, BLOCK):
            size = min(BLOCK, rows - first)
            keys = [str(row) for row in range(first, first + size)]
            writer.append(keys, *grow((image, text), size, seed=first))
    return path


def mined(store: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=arguments.cache) as folder:
        table = Path(folder) / "table"
        run = measured(
            PREPARE, CALL, store, table, arguments.k, arguments.recall, arguments.threads,
            arguments.memory,
        )  # fmt: skip
        return {**run, "recall": helip.HardPairs.open(table).report["recall"]}


def exponent(run: dict[str, Any], first: dict[str, Any], what: str) -> float:
    return math.log(run[what] / first[what]) / math.log(run["rows"] / first["rows"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 2_000_000, 4_000_000])
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", default="", help="default: that of helip.mine")
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/partition_growth.json"))
    arguments = parser.parse_args()
    runs: list[dict[str, Any]] = []
    print(f"{'rows':>10}{'seconds':>9}{'exponent':>10}{'CPU s':>9}{'exponent':>10}"
          f"{'peak MB':>9}{'recall':>8}")  # fmt: skip
    for rows in arguments.rows:
        run = {"rows": rows, **mined(grown_store(arguments.cache, rows), arguments)}
        runs.append(run)
        wall, processor = (
            f"{exponent(run, runs[0], what):.3f}" if rows != runs[0]["rows"] else "–"
            for what in ("seconds", "processor_seconds")
        )
        print(f"{rows:>10,}{run['seconds']:>9.1f}{wall:>10}{run['processor_seconds']:>9.1f}"
              f"{processor:>10}{run['peak_bytes'] / 1e6:>9.0f}{run['recall']['value']:>8.4f}",
              flush=True)  # fmt: skip
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        asked = {name: str(value) for name, value in vars(arguments).items()}
        arguments.out.write_text(json.dumps({"arguments": asked, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
