"""Loading pictures for training: helip against what people load with, with and without hard pairs.

    python bench/loader.py --size 500 --repeats 3
    python bench/loader.py --size 256 --order plain --sides dali helip
    python bench/loader.py --storage cold --disk-mb 30 --pictures 16384 --sides pread-64 helip

Pictures are made of photographs that packages carry (``pictures.py``) and packed as tar shards,
with a made-up table of hard pairs that lie anywhere in them. Each side gives the same: batches of
normalised float32 tensors of 224 px and tokens, from as many workers; ``loader_sides/`` has a file
for each kind, which says what favours it. ``--order hard``: half of a batch are hard pairs of the
other half; a side that reads in its own order alone goes on in that, and is marked. ``plain``: rows
at random. A side is a process of its own; sides alternate over the repeats. Per side:

- images/s: of the whole machine, once the workers are busy;
- images a core-second: images over the processor time of all its processes, which says the most
  where others use the machine too;
- first: from the construction of the data set and the loader to the first batch, libraries being
  imported, in seconds;
- peak memory of its processes together, shared pages once (``watch.py``);
- disk: what was read from the disk, with ``--storage cold`` (``cold_storage.py``). Give many more
  pictures than batches, or what is read beside a picture comes in useful later, as it does not with
  data that memory cannot hold.

Ratios are those of ``helip`` over each side in the same repeat. Formats of their own are written
before the time of a side is taken.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib
import importlib.metadata
import json
import os
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

UNSUPPORTED = 3  # exit status of a side that cannot run here


# One run, in a process of its own: one line of JSON for each step that is done.


def child(arguments: argparse.Namespace) -> None:
    from cold_storage import bytes_read, drop_pages
    from loader_sides import ORDERS, SIDES, tokenizer
    from pictures import pictures_of
    from watch import processor_seconds

    side, workers = SIDES[arguments.child], arguments.workers
    try:
        for module in side.imports:
            importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: a shared library is missing
        print(error, file=sys.stderr)
        sys.exit(UNSUPPORTED)
    import torch

    torch.set_num_threads(1)  # what is measured are the workers
    pictures = pictures_of(arguments.cache, arguments.size[0], arguments.pictures, arguments.format)
    order = ORDERS[arguments.order if side.hard_pairs else "plain"](
        arguments.pictures, arguments.batch_size
    )
    tokenizer()
    if side.prepare:
        side.prepare(pictures)
    is_cold = arguments.storage == "cold"
    if is_cold:
        drop_pages(pictures.folder)
    if arguments.group:
        arguments.group.write_text(str(os.getpid()))
    gc.collect()
    say(event="ready")
    started = time.perf_counter()
    batches = side.open(pictures, order, workers)
    images, texts = next(batches)
    cold = time.perf_counter() - started
    check(images, texts, arguments.batch_size)
    if is_cold:  # again: headers of tars were read, and what lies beside them
        drop_pages(pictures.folder)
    # Workers hand over one batch each in turn: whole rounds are waited for, and measured.
    for _ in range(2 * max(workers, 1) - 1):
        next(batches)
    root = os.getpid()
    disk, used = bytes_read(root), processor_seconds(root)
    started, rows = time.perf_counter(), 0
    for _ in range(arguments.batches):
        rows += len(next(batches)[0])
    seconds = time.perf_counter() - started
    used, disk = processor_seconds(root) - used, bytes_read(root) - disk
    say(event="done", cold=cold, rows=rows, seconds=seconds, processor_seconds=used, disk=disk)
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


# All runs of a kind of pictures.


def start(side: str, size: int, group: Path | None, arguments: argparse.Namespace) -> dict:
    from watch import Watched

    command = [sys.executable, __file__, "--child", side, "--size", str(size)]
    names = ("pictures", "format", "order", "storage", "batches", "batch_size", "workers", "cache")
    for name in names:
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    watched = Watched(
        command + (["--group", str(group)] if group else []),
        environment={
            **os.environ, "TOKENIZERS_PARALLELISM": "false",
            **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")},
        },
        seconds=arguments.limit, tree=True,
    )  # fmt: skip
    run: dict[str, Any] = {"ended": ""}
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
                images_s_core=what["rows"] / max(what["processor_seconds"], 1e-2),
                peak_mb=watched.peak / 1e6,
                disk_mb_s=what["disk"] / what["seconds"] / 1e6,
            )
    last = watched.errors.strip().splitlines()[-1:] or [f"status {watched.status}"]
    if watched.status == UNSUPPORTED:
        run["ended"] = f"not installed: {last[0]}"
    elif watched.ended or (watched.status != 0 and "rows" not in run):
        run["ended"] = watched.ended or f"failed: {last[0]}"
    print(f"    {side}: {brief(run)}", file=sys.stderr, flush=True)
    return run


def brief(run: dict[str, Any]) -> str:
    if "rows" not in run:
        return str(run["ended"])
    return (
        f"{run['images_s']:.0f} images/s, {run['images_s_core']:.0f} a core-second, "
        f"first batch after {run['cold']:.2f} s, {run['peak_mb']:.0f} MB, "
        f"{run['disk_mb_s']:.1f} MB/s from the disk"
    )


def facts(arguments: argparse.Namespace) -> dict[str, Any]:
    from loader_sides import SIDES

    from helip.common.machine import processor_name

    versions: dict[str, str | None] = {}
    packages = {SIDES[name].package for name in arguments.sides}
    for package in sorted({"torch", "numpy", "pillow", *packages} - {"", "helip"}):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    import helip

    versions["helip"] = helip.__version__
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "versions": versions,
        "batches": arguments.batches,
        "repeats": arguments.repeats,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def main() -> None:
    from loader_sides import ORDERS, SIDES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--size", type=int, nargs="+", default=[500], help="shorter side, pixels")
    add("--format", choices=("jpeg", "png", "webp"), default="jpeg")
    add("--order", choices=tuple(ORDERS), default="hard")
    add("--storage", choices=("warm", "cold"), default="warm", help="in the page cache or not")
    add("--disk-mb", type=float, default=0, help="MB/s that the disk is held to; 0: it is not")
    add("--disk-reads", type=int, default=0, help="reads/s that the disk is held to")
    add("--pictures", type=int, default=4096)
    add("--batches", type=int, default=8, help="that are measured; a multiple of --workers")
    add("--batch-size", type=int, default=256)
    in_memory = [name for name in SIDES if not name.startswith("pread")]
    add("--sides", nargs="+", choices=tuple(SIDES), default=in_memory, metavar="SIDE",
        help=f"of {', '.join(SIDES)}; all that decode where none is given")  # fmt: skip
    add("--repeats", type=int, default=3)
    add("--workers", type=int, default=2, help="processes or threads")
    add("--limit", type=float, default=600, metavar="SECONDS", help="of a run")
    add("--cache", type=Path, default=Path(".cache/bench"), help="where the pictures are kept")
    add("--out", type=Path, default=Path("build/bench/loader.json"))
    add("--child", help=argparse.SUPPRESS)
    add("--group", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    needed = (arguments.batches + 2 * max(arguments.workers, 1)) * arguments.batch_size
    if needed > arguments.pictures:
        parser.error(
            f"--pictures {arguments.pictures} are less than one epoch of --batches "
            f"{arguments.batches} and those before them; give {needed} or more"
        )
    if (arguments.disk_mb or arguments.disk_reads) and arguments.storage == "warm":
        parser.error("--disk-mb and --disk-reads take --storage cold")
    if arguments.child:
        child(arguments)
        return
    compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    from cold_storage import throttled
    from loader_sides import SIDES
    from loader_summary import summary, table
    from pictures import pictures_of

    about = facts(arguments)
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    cells: list[dict[str, Any]] = []
    for size in arguments.size:
        pictures = pictures_of(arguments.cache, size, arguments.pictures, arguments.format)
        group, storage = None, arguments.storage
        with ExitStack() as stack:
            if arguments.disk_mb or arguments.disk_reads:
                held = throttled(pictures.folder, arguments.disk_mb, arguments.disk_reads)
                group = stack.enter_context(held)
                storage += f", {arguments.disk_mb:g} MB/s" if arguments.disk_mb else ""
                storage += f", {arguments.disk_reads} reads/s" if arguments.disk_reads else ""
            if arguments.storage == "warm":
                for path in (*pictures.shards, *pictures.files):  # into the page cache
                    Path(path).read_bytes()
            sides = [name for name in arguments.sides if arguments.format in SIDES[name].formats]
            cell_about = {
                "pictures": pictures.about, "order": arguments.order, "storage": storage,
                "workers": arguments.workers, "batch_size": arguments.batch_size,
                "less_work": {
                    name: SIDES[name].less_work for name in sides if SIDES[name].less_work
                },
                "own_order": [
                    name for name in sides
                    if arguments.order == "hard" and not SIDES[name].hard_pairs
                ],
            }  # fmt: skip
            runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
            for repeat in range(arguments.repeats):
                for side in sides[:: 1 if repeat % 2 == 0 else -1]:
                    if runs[side] and "rows" not in runs[side][0]:
                        continue  # it will not do better
                    print(f"  {size} px, {side}, round {repeat + 1}", file=sys.stderr, flush=True)
                    runs[side].append(start(side, size, group, arguments))
                    cell = summary(cell_about, runs)
                    result = {**about, "cells": [*cells, cell]}
                    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
        cells.append(cell)
        print("\n".join(table(cell)))


if __name__ == "__main__":
    main()
