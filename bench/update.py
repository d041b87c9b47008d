"""What bringing a table up to date costs, against mining the grown store afresh.

Of N grown rows (bench/grown.py) the last ``--new`` share is appended to a store that was mined
without them; ``--delete`` of the rows are deleted on top. An update is measured without codes, and
with those that the mining of the earlier state kept, as it does by default.
All sides end with the same table on disk, compared byte for byte, and alternate in one run, each in
a process of its own; a ratio is that of runs next to each other, and the median is what counts.

    python bench/update.py --rows 60000 200000
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from real_icons import rows_folder
from stores import append_rows

import helip

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench"
SIDES = ("fresh", "update", "kept")


def write_store(path: Path, data: Path, rows: int, share: float, deleted: float, k: int) -> None:
    """A store of all rows and the table that was mined before the last ``share`` came."""
    image, text = (np.load(data / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
    before = round(rows / (1 + share))
    writer = helip.EmbeddingStore.create(
        path / "store", image_dim=image.shape[1], text_dim=text.shape[1]
    )
    for first, last in ((0, before), (before, rows)):
        with writer:
            append_rows(writer, image, text, first, last)
            if first:
                dice = np.random.default_rng(0)
                writer.delete(dice.choice(rows, round(deleted * rows), replace=False))
        if not first:
            helip.mine(
                path / "store",
                k=k,
                method="exact",
                device="cpu",
                out=path / "table",
                codes=path / "codes",
                progress=False,
            )
            writer = helip.EmbeddingStore.append_to(path / "store")


def child(side: str, folder: Path, threads: int, k: int) -> None:
    """One measured call; prints its seconds, wall and CPU."""
    store = helip.EmbeddingStore.open(folder / "store")
    out = folder / side
    start, cpu = time.perf_counter(), time.process_time()
    if side == "fresh":
        pairs = helip.mine(
            store, k=k, method="exact", device="cpu", threads=threads, out=out, keep_codes=False,
            progress=False,
        )  # fmt: skip
    else:
        codes = folder / "codes-now" if side == "kept" else None
        pairs = helip.update(
            folder / "table", store, out=out, threads=threads, codes=codes,
            keep_codes=codes is not None, progress=False,
        )  # fmt: skip
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu, "report": pairs.report}))


def run_side(side: str, folder: Path, threads: int, k: int) -> dict[str, Any]:
    shutil.rmtree(folder / side, ignore_errors=True)
    shutil.rmtree(folder / "codes-now", ignore_errors=True)
    if side == "kept":
        shutil.copytree(folder / "codes", folder / "codes-now")
    os.sync()  # what was copied is not written while the side is measured
    command = [sys.executable, __file__, "--child", side, "--folder", str(folder)]
    command += ["--threads", str(threads), "--k", str(k)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return json.loads(done.stdout)


def same_tables(folder: Path) -> bool:
    fresh, *updated = (helip.HardPairs.open(folder / side) for side in SIDES)
    return all(
        getattr(fresh, name).tobytes() == getattr(other, name).tobytes()
        for other in updated
        for name in ("ids", "scores", "counts")
    )


def measure(rows: int, args: argparse.Namespace) -> dict[str, Any]:
    data = rows_folder(args.source, CACHE, args.dims, rows)
    with tempfile.TemporaryDirectory(dir=args.scratch) as name:
        folder = Path(name)
        write_store(folder, data, rows, args.new, args.delete, args.k)
        runs = []
        for _ in range(args.repeats):
            pair = {side: run_side(side, folder, args.threads, args.k) for side in SIDES}
            if not same_tables(folder):
                raise SystemExit(f"N = {rows}: the updated table differs from the fresh one")
            runs.append(pair)
    result: dict[str, Any] = {"rows": rows, "did": runs[-1]["update"]["report"]["update"]}
    for what in ("seconds", "cpu"):
        result[what] = {
            "fresh": statistics.median(run["fresh"][what] for run in runs),
            **{side: compared([(run[side][what], run["fresh"][what]) for run in runs])
               for side in SIDES[1:]},
        }  # fmt: skip
    return result


def compared(runs: list[tuple[float, float]]) -> dict[str, Any]:
    ratios = [own / fresh for own, fresh in runs]
    return {
        "median": statistics.median(own for own, _ in runs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[60_000, 200_000])
    parser.add_argument("--dims", type=lambda s: tuple(map(int, s.split("x"))), default=(1280, 384))
    parser.add_argument("--source", default="grown", help="grown, icons or a folder of matrices")
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--new", type=float, default=0.05, help="new rows, of those before")
    parser.add_argument("--delete", type=float, default=0.0, help="deleted rows, of all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="folder for stores and tables")
    parser.add_argument("--out", type=Path, default=Path("update.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.folder, args.threads, args.k)
        return
    results = []
    print(f"{args.dims[0]} + {args.dims[1]}, k = {args.k}, {args.new:.1%} new, "
          f"{args.delete:.1%} deleted, {args.threads} threads")  # fmt: skip
    print(f"{'N':>8}  {'side':>6}  {'seconds':>8}  {'ratio':>6}  {'CPU':>6}  (least … most)")
    for rows in args.rows:
        result = measure(rows, args)
        results.append(result)
        wall, cpu = result["seconds"], result["cpu"]
        print(f"{rows:>8,}   fresh  {wall['fresh']:>8.2f}")
        for side in SIDES[1:]:
            own, ratios = wall[side], wall[side]["ratios"]
            print(f"{rows:>8,}  {side:>6}  {own['median']:>8.2f}  {own['ratio']:>6.1%}  "
                  f"{cpu[side]['ratio']:>6.1%}  ({min(ratios):.1%} … {max(ratios):.1%})",
                  flush=True)  # fmt: skip
    args.out.write_text(
        json.dumps({"dims": args.dims, "k": args.k, "new": args.new, "delete": args.delete,
                    "threads": args.threads, "results": results}, indent=1) + "\n"
    )  # fmt: skip


if __name__ == "__main__":
    main()
