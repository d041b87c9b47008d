"""What importing embeddings costs: .npy files into a store, against copying the files.

    python bench/import_store.py
    python bench/import_store.py --rows 100000 --folder /dev/shm

Two ``.npy`` files of ``--rows`` x 768 float16 are imported by ``helip.EmbeddingStore.import_from``,
and copied by ``shutil.copyfileobj`` and flushed to the disk, in processes of their own that
alternate. Both read and write the same bytes. Before each run the pages of what it reads are
dropped, and what was written before is flushed. Memory is the peak of anonymous and shared pages
(``watch.py``). The store is read back and compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIM, BLOCK = 768, 65_536


def child(arguments: argparse.Namespace) -> None:
    image, text = (arguments.folder / f"{side}.npy" for side in ("image", "text"))
    out = arguments.folder / "out"
    before = 0
    if arguments.child == "helip":
        from watch import held

        from helip import EmbeddingStore

        before = held()
    started = time.perf_counter()
    if arguments.child == "helip":
        EmbeddingStore.import_from(image=image, text=text, out=out, progress=False)
    else:
        out.mkdir()
        for path in (image, text):
            with path.open("rb") as source, (out / path.name).open("wb") as target:
                shutil.copyfileobj(source, target, 16 << 20)
                target.flush()
                os.fsync(target.fileno())
    print(json.dumps({"seconds": time.perf_counter() - started, "held": before}))


def write(path: Path, rows: int, seed: int) -> None:
    array = np.lib.format.open_memmap(path, "w+", np.float16, (rows, DIM))
    random = np.random.default_rng(seed)
    block = random.normal(size=(BLOCK, DIM)).astype(np.float16)
    for first in range(0, rows, BLOCK):
        count = min(BLOCK, rows - first)
        array[first : first + count] = np.roll(block, first // BLOCK, axis=1)[:count]
    array.flush()


def drop_pages(folder: Path) -> None:
    os.sync()
    for path in folder.glob("*.npy"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(side: str, folder: Path) -> dict[str, float]:
    from watch import Watched

    shutil.rmtree(folder / "out", ignore_errors=True)
    drop_pages(folder)
    watched = Watched([sys.executable, __file__, "--child", side, "--folder", str(folder)])
    told = list(watched.lines())
    if watched.status:
        raise SystemExit(f"{side} failed: {watched.errors}")
    return {**json.loads(told[-1]), "peak": watched.peak}


def check(folder: Path) -> None:
    import helip

    store = helip.EmbeddingStore.open(folder / "out")
    store.verify()
    for side in ("image", "text"):
        source = np.load(folder / f"{side}.npy", mmap_mode="r")
        read = getattr(store, side)
        for first in range(0, len(source), BLOCK):
            rows = slice(first, first + BLOCK)
            assert source[rows].tobytes() == np.ascontiguousarray(read[rows]).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the files go for a while")
    parser.add_argument("--out", type=Path, default=Path("build/bench/import_store.json"))
    parser.add_argument("--child", choices=("helip", "copy"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    runs: dict[str, list[dict[str, float]]] = {"helip": [], "copy": []}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        for seed, side in enumerate(("image", "text")):
            write(folder / f"{side}.npy", arguments.rows, seed)
        for repeat in range(arguments.repeats):
            for side in sorted(runs, reverse=bool(repeat % 2)):
                runs[side].append(run(side, folder))
                if side == "helip" and not repeat:
                    check(folder)
    size = 2 * arguments.rows * DIM * 2
    seconds = {side: statistics.median(each["seconds"] for each in runs[side]) for side in runs}
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(runs["copy"], runs["helip"], strict=True)]
    beyond = max(each["peak"] - each["held"] for each in runs["helip"])
    print(
        f"{size / 1e9:.2f} GB: helip {size / seconds['helip'] / 1e6:.0f} MB/s, copy "
        f"{size / seconds['copy'] / 1e6:.0f} MB/s; rate of helip over that of the copy "
        f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]; "
        f"{beyond / 1e6:.0f} MB beyond what Python, torch and helip hold at the start"
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"rows": arguments.rows, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
