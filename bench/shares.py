"""What a job in shares on a Ray cluster of this machine costs, beside one process of as many cores.

    python bench/shares.py --rows 1000000 --method partition
    python bench/shares.py --store cc3m.store --method exact

`helip.mine` from a store without kept codes to the table on disk, both ways in turn, the one or the
other first. Ray is started before, which takes some seconds more. The tables must be the same byte
for byte. Without ``--store`` rows of 384 + 768 float16 are grown (``partition_growth.py``).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from partition_growth import grown_store

import helip
from helip.common.ray_parts import import_ray


def files_of(table: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in table.iterdir() if path.name != ".lock"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--method", choices=("exact", "partition"), default="partition")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/shares.json"))
    arguments = parser.parse_args()
    path = arguments.store or grown_store(arguments.cache / "grown", arguments.rows)
    begun = time.perf_counter()
    (ray := import_ray()).init(
        num_cpus=arguments.cores, include_dashboard=False, log_to_driver=False
    )
    result: dict[str, Any] = {"start": time.perf_counter() - begun, "rows": [], "ratios": []}
    sides: dict[str, dict[str, Any]] = {
        "process": {"threads": arguments.cores, "keep_codes": False},
        "shares": {"threads": 1, "engine": "ray"},
    }
    for repeat in range(arguments.repeats):
        seconds, tables = {}, {}
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            for side in sorted(sides, reverse=repeat % 2 == 1):
                out = Path(folder) / side
                codes = {"codes": Path(folder) / "codes"} if side == "shares" else {}
                begun = time.perf_counter()
                pairs = helip.mine(
                    path, k=arguments.k, method=arguments.method, device="cpu", out=out,
                    progress=False, **sides[side], **codes,
                )  # fmt: skip
                seconds[side] = time.perf_counter() - begun
                tables[side] = files_of(out)
        assert tables["process"] == tables["shares"]
        ratio = seconds["shares"] / seconds["process"]
        result["rows"].append({**seconds, "report": pairs.report})
        result["ratios"].append(ratio)
        print(f"{len(pairs):,} rows: {seconds} ratio {ratio:.2f}", flush=True)
    ray.shutdown()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
