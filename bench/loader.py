"""Loading pictures for training: helip against what people load with, with and without hard pairs.

    python bench/loader.py --size 500 --repeats 3
    python bench/loader.py --size 256 --sides open_clip helip --batches 8

JPEGs are made of photographs that packages carry (``pictures.py``) and packed as tar shards, with a
made-up table of hard pairs that lie anywhere in them. Each side gives the same: batches of
normalised float32 tensors of 224 px and tokens, from as many workers; ``loader_sides.py`` describes
the sides and what favours them. A side is a process of its own; sides alternate over the repeats;
the files are in the page cache. Per side:

- images/s: of the whole machine, once the workers are busy;
- images/s per core: images over the processor time of all its processes;
- cold start: from the construction of the data set and the loader to the first batch, libraries
  being imported, in seconds;
- peak memory of its processes together, shared pages once (``watch.py``).

Ratios are those of ``helip`` (hard pairs out of tars) over each side in the same repeat. FFCV reads
a format of its own, which is written before its time is taken.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib
import importlib.metadata
import json
import os
import statistics
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

SIDE_NAMES = (
    "open_clip", "open_clip-hard", "torchvision", "simplejpeg", "webdataset", "spdl", "ffcv",
    "helip", "helip-plain", "helip-sequential",
)  # fmt: skip
JUDGED = "helip"
UNSUPPORTED = 3  # exit status of a side that cannot run here

# A run: what one process measured, or why it ended. A cell: a size, and the runs of each side.
Run = dict[str, Any]
Cell = dict[str, Any]


# One run, in a process of its own: one line of JSON for each step that is done.


def child(arguments: argparse.Namespace) -> None:
    from loader_sides import IMPORTS, SIDES, tokenizer
    from pictures import pictures_of
    from watch import processor_seconds

    name, workers = arguments.child, arguments.workers
    try:
        for module in IMPORTS[name]:
            importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        print(error, file=sys.stderr)
        sys.exit(UNSUPPORTED)
    import torch

    torch.set_num_threads(1)  # what is measured are the workers
    pictures = pictures_of(arguments.cache, arguments.size[0], arguments.pictures)
    tokenizer()
    if name == "ffcv":
        from loader_sides import _beton

        _beton(pictures)
    gc.collect()
    say(event="ready")
    started = time.perf_counter()
    batches = SIDES[name](pictures, arguments.batch_size, workers, arguments.pictures)
    images, texts = next(batches)
    cold = time.perf_counter() - started
    check(images, texts, arguments.batch_size)
    # Workers hand over one batch each in turn: whole rounds are waited for, and measured.
    for _ in range(2 * max(workers, 1) - 1):
        next(batches)
    started, used, rows = time.perf_counter(), processor_seconds(os.getpid()), 0
    for _ in range(arguments.batches):
        rows += len(next(batches)[0])
    seconds = time.perf_counter() - started
    used = processor_seconds(os.getpid()) - used
    say(event="done", cold=cold, rows=rows, seconds=seconds, processor_seconds=used)
    with suppress(AttributeError):
        batches.close()  # type: ignore[attr-defined]


def check(images: Any, texts: Any, batch: int) -> None:
    """Sides give the same kind of batch; hard pairs that are there already may leave a place."""
    import torch

    rows = len(images)
    if not 0.9 * batch <= rows <= batch or images.shape[1:] != (3, 224, 224):
        raise RuntimeError(f"a batch has the shape {list(images.shape)}")
    if images.dtype != torch.float32 or texts.shape != (rows, 77):
        raise RuntimeError(f"a batch has {images.dtype} and tokens {list(texts.shape)}")
    spread = float(images.std())
    if not 0.3 < spread < 3:
        raise RuntimeError(f"pictures are not normalised: their deviation is {spread:.2f}")


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


# All runs of a size, and what they say.


def start(side: str, size: int, arguments: argparse.Namespace) -> Run:
    from watch import Watched

    watched = Watched(
        [
            sys.executable, __file__, "--child", side, "--size", str(size),
            "--pictures", str(arguments.pictures), "--batches", str(arguments.batches),
            "--batch-size", str(arguments.batch_size), "--workers", str(arguments.workers),
            "--cache", str(arguments.cache),
        ],
        environment={
            **os.environ, "TOKENIZERS_PARALLELISM": "false",
            **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")},
        },
        seconds=arguments.limit, tree=True,
    )  # fmt: skip
    run: Run = {"ended": ""}
    for line in watched.lines():
        if not line.startswith('{"event": '):
            continue  # of a library
        what = json.loads(line)
        if what.pop("event") == "ready":
            watched.restart_peak()
        else:
            run.update(
                what,
                images_s=what["rows"] / what["seconds"],
                images_s_core=what["rows"] / max(what["processor_seconds"], 1e-9),
                peak_mb=watched.peak / 1e6,
            )
    last = watched.errors.strip().splitlines()[-1:] or [f"status {watched.status}"]
    if watched.status == UNSUPPORTED:
        run["ended"] = f"not installed: {last[0]}"
    elif watched.ended or (watched.status != 0 and "rows" not in run):
        run["ended"] = watched.ended or f"failed: {last[0]}"
    print(f"    {side}: {brief(run)}", file=sys.stderr, flush=True)
    return run


def brief(run: Run) -> str:
    if "rows" not in run:
        return str(run["ended"])
    return (
        f"{run['images_s']:.0f} images/s, {run['images_s_core']:.0f} per core, "
        f"first batch after {run['cold']:.2f} s, {run['peak_mb']:.0f} MB"
    )


def summary(size: int, about: dict[str, object], runs: dict[str, list[Run]]) -> Cell:
    """Medians over the repeats, and the ratios of helip to each other side."""
    sides: dict[str, Any] = {}
    for name, of_side in runs.items():
        done = [run for run in of_side if "rows" in run]
        sides[name] = {"runs": of_side, "ended": of_side[-1]["ended"] if of_side else ""}
        for figure in ("images_s", "images_s_core", "cold", "peak_mb"):
            if done:
                sides[name][figure] = statistics.median(run[figure] for run in done)
        ratios = [
            own["images_s"] / other["images_s"]
            for own, other in zip(runs.get(JUDGED, []), of_side, strict=False)
            if "rows" in own and "rows" in other
        ]
        if ratios:
            sides[name]["helip_over_it"] = {
                "median": statistics.median(ratios), "min": min(ratios), "max": max(ratios),
            }  # fmt: skip
    return {"size": size, "pictures": about, "sides": sides}


def show(cell: Cell, arguments: argparse.Namespace) -> None:
    about = cell["pictures"]
    print(
        f"\nshorter side {cell['size']} px, {about['rows']:,} pictures of "
        f"{about['mean_bytes'] / 1000:.0f} KB, {arguments.workers} workers, batches of "
        f"{arguments.batch_size}"
    )
    print(
        f"{'side':<18}{'images/s':>10}{'per core':>10}{'cold s':>8}{'peak MB':>9}"
        f"  helip / it (least … most)"
    )
    for name, side in cell["sides"].items():
        if "images_s" not in side:
            print(f"{name:<18}{side['ended']}")
            continue
        ratio = side.get("helip_over_it")
        words = f"{ratio['median']:.2f} ({ratio['min']:.2f} … {ratio['max']:.2f})" if ratio else ""
        print(
            f"{name:<18}{side['images_s']:>10.0f}{side['images_s_core']:>10.0f}"
            f"{side['cold']:>8.2f}{side['peak_mb']:>9.0f}  {words}"
        )
    for line in goals(cell):
        print(line)


def goals(cell: Cell) -> list[str]:
    """What docs/benchmarks.md holds helip to, where it was measured."""
    ratios = {
        name: side["helip_over_it"]["median"]
        for name, side in cell["sides"].items()
        if "helip_over_it" in side
    }
    others = {name: ratio for name, ratio in ratios.items() if not name.startswith("helip")}
    lines = []
    if "open_clip-hard" in ratios:
        lines.append(("DataLoader + PIL with hard pairs", ratios["open_clip-hard"], 3.0))
    if others:
        fastest = min(others, key=lambda name: others[name])
        lines.append((f"the fastest other side, {fastest}", others[fastest], 1.3))
    if "helip-sequential" in ratios:
        lines.append(("helip's own sequential read", ratios["helip-sequential"], 0.9))
    return [
        f"goal: {ratio:.2f} times {what}, at least {least} is {'' if ratio >= least else 'NOT '}met"
        for what, ratio, least in lines
    ]


def facts(arguments: argparse.Namespace) -> dict[str, Any]:
    from loader_sides import PACKAGES

    processor = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line for line in lines if line.startswith("model name")), "")
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    import helip

    versions["helip"] = helip.__version__
    return {
        "processor": processor.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "versions": versions,
        "workers": arguments.workers,
        "batch_size": arguments.batch_size,
        "batches": arguments.batches,
        "repeats": arguments.repeats,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--size", type=int, nargs="+", default=[256, 500], help="shorter side, pixels")
    add("--pictures", type=int, default=4096)
    add("--batches", type=int, default=8, help="that are measured; a multiple of --workers")
    add("--batch-size", type=int, default=256)
    add("--sides", nargs="+", choices=SIDE_NAMES, default=list(SIDE_NAMES))
    add("--repeats", type=int, default=3)
    add("--workers", type=int, default=2, help="processes or threads")
    add("--limit", type=float, default=600, metavar="SECONDS", help="of a run")
    add("--cache", type=Path, default=Path(".cache/bench"), help="where the pictures are kept")
    add("--out", type=Path, default=Path("build/bench/loader.json"))
    add("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    needed = (arguments.batches + 2 * max(arguments.workers, 1)) * arguments.batch_size
    if needed > arguments.pictures:
        parser.error(
            f"--pictures {arguments.pictures} are less than one epoch of --batches "
            f"{arguments.batches} and those before them; give {needed} or more"
        )
    if arguments.child:
        child(arguments)
        return

    from pictures import pictures_of

    about = facts(arguments)
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    cells: list[Cell] = []
    for size in arguments.size:
        pictures = pictures_of(arguments.cache, size, arguments.pictures)
        for path in (*pictures.shards, *pictures.files):  # into the page cache
            Path(path).read_bytes()
        runs: dict[str, list[Run]] = {side: [] for side in arguments.sides}
        for repeat in range(arguments.repeats):
            for side in arguments.sides[:: 1 if repeat % 2 == 0 else -1]:
                if runs[side] and "rows" not in runs[side][0]:
                    continue  # it will not do better
                print(f"  {size} px, {side}, round {repeat + 1}", file=sys.stderr, flush=True)
                runs[side].append(start(side, size, arguments))
                cell = summary(size, pictures.about, runs)
                result = {**about, "cells": [*cells, cell]}
                arguments.out.write_text(json.dumps(result, indent=1) + "\n")
        cells.append(cell)
        show(cell, arguments)


if __name__ == "__main__":
    main()
