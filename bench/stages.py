"""What mining by clusters in stages costs, stage by stage, beside ``partition`` without stages.

    python bench/stages.py
    python bench/stages.py --rows 1000000 --cluster-rows 250000
    python bench/stages.py --rows 4000000 --dims 384x768 --cluster-rows 1000000 --threads 2 --staged
    python bench/stages.py --rows 63000 --cluster-rows 30000 --new 0.05

Over real embeddings grown to N rows (``grown.py``), as a float16 store, in one process: both tables
with their measured recall, and the bytes that the stages' files take. With ``--new`` the last rows
come after a table of those before them was mined, with ``--delete`` some rows go, and what bringing
it up to date costs stands beside what mining all rows does. Times are CPU seconds of all
threads, which do not depend on what else the machine does as much as wall time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from partition_growth import DIMS, grown_store
from real_icons import SOURCES, rows_folder
from resume import write_store
from stores import append_rows

import helip
from helip.mining.options import HostOptions, MineOptions, StageOptions
from helip.mining.stages.job import stages_folder
from helip.mining.stages.scheduling import (
    begin_stages,
    begin_update_stages,
    run_slice,
    stage_status,
    write_staged,
)


def plainly(store: helip.EmbeddingStore, arguments: argparse.Namespace) -> dict[str, Any]:
    begun = time.process_time()
    table = helip.mine(
        store, k=arguments.k, method="partition", device="cpu", threads=arguments.threads,
        recall=arguments.recall, keep_codes=False, progress=False,
    )  # fmt: skip
    return {"cpu": time.process_time() - begun, "recall": table.report["recall"]}


def in_stages(
    store: helip.EmbeddingStore, arguments: argparse.Namespace, out: Path
) -> dict[str, Any]:
    options = MineOptions(k=arguments.k, method="partition", recall=arguments.recall)
    spread = StageOptions(cluster_rows=arguments.cluster_rows, overlap=arguments.overlap)
    begin_stages(store, options, spread, out)
    return run(arguments, out)


def run(arguments: argparse.Namespace, out: Path) -> dict[str, Any]:
    """All stages of a job that was begun, in this process."""
    host = HostOptions(threads=arguments.threads)
    spent: dict[str, float] = defaultdict(float)
    begun = time.process_time()
    while (stage := stage_status(out)["next"]) != "write":
        run_slice(out, stage, (1, 1), host)
        spent[stage] += time.process_time() - begun
        begun = time.process_time()
    units = {each["stage"]: each["units"] for each in stage_status(out)["done"]}
    table = write_staged(out, keep=True)
    spent["write"] = time.process_time() - begun
    files = [path for path in stages_folder(out).rglob("*") if path.is_file()]
    return {
        "cpu": sum(spent.values()), "stages": spent, "units": units,
        "recall": table.report["recall"], "report": table.report,
        "bytes": sum(path.stat().st_size for path in files),
    }  # fmt: skip


def brought_up_to_date(data: Path, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A table of the rows before the last ``--new`` of them, then one of all, by an update."""
    before = round(arguments.rows / (1 + arguments.new))
    image, text = (np.load(data / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
    dims = {"image_dim": image.shape[1], "text_dim": text.shape[1]}
    writer = helip.EmbeddingStore.create(folder / "grown", dtype="float16", **dims)
    for first, last in ((0, before), (before, arguments.rows)):
        with writer:
            append_rows(writer, image, text, first, last)
            if first and arguments.delete:
                dice, count = np.random.default_rng(0), round(arguments.delete * arguments.rows)
                writer.delete(dice.choice(arguments.rows, count, replace=False))
        if not first:
            in_stages(helip.EmbeddingStore.open(folder / "grown"), arguments, folder / "before")
            writer = helip.EmbeddingStore.append_to(folder / "grown")
    store = helip.EmbeddingStore.open(folder / "grown")
    table = helip.HardPairs.open(folder / "before")
    begin_update_stages(table, store, folder / "updated")
    return run(arguments, folder / "updated")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--dims", default="1280x384")
    parser.add_argument("--source", choices=SOURCES, default="grown", help="of the rows")
    parser.add_argument("-k", type=int, default=50)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--cluster-rows", type=int, default=50_000)
    parser.add_argument("--overlap", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--new", type=float, default=0.0, help="new rows, of those before")
    parser.add_argument("--delete", type=float, default=0.0, help="deleted rows, of all")
    parser.add_argument("--staged", action="store_true", help="no partition without stages")
    parser.add_argument("--cache", type=Path, default=Path(".cache/bench"))
    parser.add_argument("--out", type=Path, default=Path("build/bench/stages.json"))
    arguments = parser.parse_args()
    dims = tuple(int(d) for d in arguments.dims.split("x"))
    work = Path(tempfile.mkdtemp(prefix="helip-stages-"))
    try:
        if (arguments.source, dims, arguments.new) == ("grown", DIMS, 0):
            path = grown_store(arguments.cache, arguments.rows)  # block by block, whatever its size
        else:
            data = rows_folder(arguments.source, arguments.cache, dims, arguments.rows)
            path = work / "store"
            write_store(data, path)
        store = helip.EmbeddingStore.open(path)
        sides = {} if arguments.staged else {"partition": plainly(store, arguments)}
        sides["in stages"] = in_stages(store, arguments, work / "pairs")
        if arguments.new:
            sides["update"] = brought_up_to_date(data, arguments, work)
    finally:
        shutil.rmtree(work)
    for name, side in sides.items():
        recall = side["recall"]
        print(f"{name:12} {side['cpu']:8.1f} CPU s, recall {recall['value']:.4f}")
    for name in ("in stages", "update"):
        if (staged := sides.get(name)) is None:
            continue
        print(name)
        for stage, cpu in staged["stages"].items():
            units = sum(n for each, n in staged["units"].items() if each.split("-")[0] == stage)
            print(f"  {stage:10} {cpu:8.1f} CPU s, {units:,} units")
        print(f"  files      {staged['bytes'] / arguments.rows / 1000:8.1f} KB a row")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    asked = {name: str(value) for name, value in vars(arguments).items()}
    arguments.out.write_text(json.dumps({"arguments": asked, **sides}, indent=1) + "\n")


if __name__ == "__main__":
    main()
