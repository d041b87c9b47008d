"""What ``method="hnsw"`` and ``helip.PairIndex`` cost, against plain hnswlib.

Mining: both sides find the k best of every one of N rows, from matrices in memory: grown ones
(bench/grown.py), or with --matrices the first N of ``image.npy`` and ``text.npy`` of that folder.
``helip`` is ``helip.mine(method="hnsw")``, the measuring of its own recall included.
``hnswlib`` is its ``ip`` space over the float32 concatenation [u; v] / √2 with M = 16 and 200
candidates while building; each row's ``ef`` nearest count as candidates whose product would be
computed, which is not timed. ``ef`` is the least of those tried that gives the recall@k that helip
gives, on the same 500 targets solved by brute force. Sides alternate, each in a process of its own;
a ratio is that of a pair of runs next to each other, of wall and of CPU seconds, and the median
counts.

Queries: an index of N rows is asked for 1,000 new pairs; recall@10, error of the scores, time of
one query in one thread, and of a batch.

Serving: some threads ask one pair at a time, for as long alone as while another thread adds a pair
300 times a second. Then these pairs and three tenths of the rows are removed, and the latter added
again: recall@10, and that of the index as it was built.

    pip install hnswlib
    python bench/pair_index.py --rows 20000 60000
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from grown import grow, grown_folder

import helip

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "bench"
DUPLICATE = 0.98
TARGETS = 500
QUERIES = 1000
BLOCK = 20_000  # rows whose scores are computed at a time
ADDED, ADDS_A_SECOND, SERVED = 4000, 300, 10
SERVED_BREADTHS = (64, 128, 256)
BREADTHS = (50, 75, 100, 125, 150, 200, 250, 300, 400, 600, 800)


class Clock:
    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {
            "wall": time.perf_counter() - self.wall, "cpu": time.process_time() - self.cpu,
        }  # fmt: skip


def matrices(arguments: argparse.Namespace, rows: int) -> tuple[np.ndarray, np.ndarray]:
    if arguments.matrices:
        image, text = (np.load(arguments.matrices / f"{name}.npy", mmap_mode="r")
                       for name in ("image", "text"))  # fmt: skip
        return image[:rows].astype(np.float32), text[:rows].astype(np.float32)
    dims = tuple(int(d) for d in arguments.dims.split("x"))
    whole = max(rows, arguments.of or rows)
    folder = grown_folder(arguments.cache, dims, whole)
    image, text = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
    return np.array(image[:rows]), np.array(text[:rows])


def scores(
    image: np.ndarray, text: np.ndarray, own_image: np.ndarray, own_text: np.ndarray
) -> np.ndarray:
    """Products of cosines, [len(own), N] float64, 0 for near duplicates and what is below zero."""
    found = np.empty((len(own_image), len(image)))
    for first in range(0, len(image), BLOCK):
        block = slice(first, first + BLOCK)
        parts = [
            np.clip(own.astype(np.float64) @ rows[block].T.astype(np.float64), 0, None)
            for own, rows in ((own_image, image), (own_text, text))
        ]
        for part in parts:
            part[part > DUPLICATE] = 0
        found[:, block] = parts[0] * parts[1]
    return found


class Sample:
    """Random targets and their exact pools."""

    def __init__(self, image: np.ndarray, text: np.ndarray, k: int) -> None:
        self.k = k
        count = min(TARGETS, len(image))
        self.targets = np.sort(np.random.default_rng(1).choice(len(image), count, replace=False))
        self.scores = np.vstack([
            scores(image, text, image[part], text[part])
            for part in np.array_split(self.targets, 10)
        ])  # fmt: skip
        self.scores[np.arange(count), self.targets] = 0
        self.last = -np.partition(-self.scores, k - 1, axis=1)[:, k - 1]
        self.wanted = np.minimum(k, (self.scores > 0).sum(1))

    def recall(self, candidates: np.ndarray) -> float:
        """Of pools that are the k best of these candidates, [N, any]; -1 for none."""
        found = []
        for own, row in enumerate(self.targets):
            ids = candidates[row][candidates[row] >= 0]
            hit = self.scores[own, ids]
            reached = (hit > 0) & (hit >= self.last[own] - 1e-9)
            found.append(min(self.k, int(reached.sum())) / max(1, int(self.wanted[own])))
        return float(np.mean(found))


def child_helip(arguments: argparse.Namespace) -> dict[str, Any]:
    image, text = matrices(arguments, arguments.rows[0])
    clock = Clock()
    pairs = helip.mine(
        image=image, text=text, k=arguments.k, method="hnsw", recall=arguments.recall,
        threads=arguments.threads, device="cpu", progress=False,
    )  # fmt: skip
    spent = clock.read()
    return spent | {
        "recall": Sample(image, text, arguments.k).recall(pairs.ids),
        "measured": pairs.report["recall"], "hnsw": pairs.report["hnsw"],
    }  # fmt: skip


def child_hnswlib(arguments: argparse.Namespace) -> dict[str, Any]:
    import hnswlib

    image, text = matrices(arguments, arguments.rows[0])
    clock = Clock()
    both = np.hstack((image, text)) * np.float32(0.5**0.5)
    index = hnswlib.Index("ip", both.shape[1])
    index.init_index(len(both), M=16, ef_construction=200)
    index.set_num_threads(arguments.threads)
    index.add_items(both)
    build = clock.read()
    sample = Sample(image, text, arguments.k)
    # The least breadth that is enough is looked for on the sample, so that one search is timed.
    for breadth in [arguments.ef] if arguments.ef else BREADTHS:
        index.set_ef(breadth)
        probe = np.full((len(both), breadth), -1, np.int64)
        probe[sample.targets] = index.knn_query(both[sample.targets], k=breadth)[0]
        recall = sample.recall(probe)
        if recall >= arguments.reach:
            break
    clock = Clock()
    index.knn_query(both, k=breadth)
    search = clock.read()
    return {name: build[name] + search[name] for name in build} | {
        "build": build, "search": search, "ef": breadth, "recall": recall,
    }  # fmt: skip


def child_queries(arguments: argparse.Namespace) -> dict[str, Any]:
    rows = arguments.rows[0]
    image, text = matrices(arguments, rows)
    new_image, new_text = grow((image, text), QUERIES, seed=7)  # as the rows were grown, once more
    clock = Clock()
    index = helip.PairIndex.build(image=image, text=text, threads=arguments.threads, progress=False)
    result: dict[str, Any] = {"build": clock.read(), "bytes_per_pair": index.nbytes / rows}
    with tempfile.TemporaryDirectory() as folder:
        for name, step in (
            ("save", lambda: index.save(Path(folder) / "index")),
            ("open", lambda: helip.PairIndex.open(Path(folder) / "index")),
        ):
            clock = Clock()
            step()
            result[name] = clock.read()
    exact = scores(image, text, new_image, new_text)
    best = -np.partition(-exact, 9, axis=1)[:, 9]
    result["queries"] = []
    for breadth in (16, 32, 64, 128, 256):
        clock = Clock()
        for i in range(200):
            index.query(
                image=new_image[i : i + 1], text=new_text[i : i + 1], k=10, breadth=breadth,
                threads=1,
            )  # fmt: skip
        one = clock.read()["cpu"] / 200
        clock = Clock()
        ids, found = index.query(
            image=new_image, text=new_text, k=10, breadth=breadth, threads=arguments.threads
        )
        batch = clock.read()["wall"] / QUERIES
        true = np.take_along_axis(exact, np.clip(ids, 0, None), axis=1)
        hits = ((true >= best[:, None] - 1e-4) & (ids >= 0)).sum(1).clip(max=10) / 10
        error = np.abs(true - found)[ids >= 0]
        result["queries"].append({
            "breadth": breadth, "recall": float(hits.mean()), "one_query_cpu": one,
            "batch_wall_per_query": batch, "score_error_max": float(error.max()),
            "score_error_rms": float(np.sqrt(np.mean(error**2))),
        })  # fmt: skip
    return result


def child_serving(arguments: argparse.Namespace) -> dict[str, Any]:
    rows = arguments.rows[0]
    image, text = matrices(arguments, rows)
    new_image, new_text = grow((image, text), QUERIES + ADDED, seed=7)
    index = helip.PairIndex.build(image=image, text=text, threads=arguments.threads, progress=False)
    asked = min(QUERIES, 200_000_000 // rows)
    exact = scores(image, text, new_image[:asked], new_text[:asked])
    best = -np.partition(-exact, 9, axis=1)[:, 9]

    def recall() -> dict[int, float]:
        found = {}
        for breadth in SERVED_BREADTHS:
            ids, _ = index.query(
                image=new_image[:asked], text=new_text[:asked], k=10, breadth=breadth
            )
            true = np.take_along_axis(exact, np.clip(ids, 0, None), axis=1)
            hits = ((true >= best[:, None] - 1e-4) & (ids >= 0)).sum(1).clip(max=10)
            found[breadth] = float(hits.mean() / 10)
        return found

    result: dict[str, Any] = {"recall": {"built": recall()}}
    done = threading.Event()

    def ask(first: int, times: list[float]) -> None:
        for i in itertools.count(first, arguments.threads):
            if done.is_set():
                return
            one = slice(i % QUERIES, i % QUERIES + 1)
            began = time.perf_counter()
            index.query(
                image=new_image[one], text=new_text[one], k=10, breadth=arguments.breadth, threads=1
            )
            times.append(time.perf_counter() - began)

    def add() -> None:
        began = time.perf_counter()
        for i in range(ADDED):
            if done.wait(max(0.0, began + i / ADDS_A_SECOND - time.perf_counter())):
                return
            one = slice(QUERIES + i, QUERIES + i + 1)
            index.add(image=new_image[one], text=new_text[one], threads=1)

    for name in ("alone", "beside adds"):
        done.clear()
        times: list[list[float]] = [[] for _ in range(arguments.threads)]
        threads = [threading.Thread(target=ask, args=each) for each in enumerate(times)]
        threads += [threading.Thread(target=add)] if name == "beside adds" else []
        before = len(index)
        for thread in threads:
            thread.start()
        time.sleep(SERVED)
        done.set()
        for thread in threads:
            thread.join()
        all_times = np.concatenate(times)
        result[name] = {
            "queries_per_second": len(all_times) / SERVED,
            "adds_per_second": (len(index) - before) / SERVED,
            **{f"p{p}_ms": 1e3 * float(np.percentile(all_times, p)) for p in (50, 99, 99.9)},
            "longest_ms": 1e3 * float(all_times.max()),
        }

    index.remove(np.arange(rows, len(index)))
    gone = np.random.default_rng(3).permutation(rows)[: 3 * rows // 10]
    index.remove(gone)
    index.add(image=image[gone], text=text[gone], ids=gone)
    result["recall"]["three tenths removed and added"] = recall()
    return result


CHILDREN = {
    "helip": child_helip, "hnswlib": child_hnswlib, "queries": child_queries,
    "serving": child_serving,
}  # fmt: skip


def run(arguments: argparse.Namespace, side: str, rows: int, **more: Any) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", side, "--rows", str(rows)]
    for name in ("dims", "of", "k", "recall", "threads", "cache", "matrices", "breadth"):
        if (value := getattr(arguments, name)) is not None:
            command += [f"--{name}", str(value)]
    for name, value in more.items():
        command += [f"--{name}", str(value)]
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def compare(arguments: argparse.Namespace, rows: int) -> dict[str, Any]:
    ours, theirs, reach, ef = [], [], 0.0, 0
    print(f"{rows:,} rows: recall@{arguments.k} and seconds, wall (CPU)")
    for _ in range(arguments.repeats):
        ours.append(run(arguments, "helip", rows))
        reach = reach or ours[0]["recall"]
        theirs.append(run(arguments, "hnswlib", rows, reach=reach, ef=ef))
        ef = theirs[0]["ef"]
        for name, one in (("helip", ours[-1]), ("hnswlib", theirs[-1])):
            print(f"  {name:8} {one['recall']:.4f}  {one['wall']:7.1f} ({one['cpu']:.1f})")
    ratios = {
        kind: statistics.median(b[kind] / a[kind] for a, b in zip(ours, theirs, strict=True))
        for kind in ("wall", "cpu")
    }
    print(f"  hnswlib / helip: {ratios['wall']:.2f} ({ratios['cpu']:.2f})")
    queries = run(arguments, "queries", rows)
    for one in queries["queries"]:
        print(
            f"  breadth {one['breadth']:3}: recall@10 {one['recall']:.4f}, one query "
            f"{1e6 * one['one_query_cpu']:.0f} us, error of scores up to "
            f"{one['score_error_max']:.1e}"
        )
    serving = run(arguments, "serving", rows)
    for name in ("alone", "beside adds"):
        told = ", ".join(f"{key} {value:,.2f}" for key, value in serving[name].items())
        print(f"  {name}: {told}")
    print(f"  recall@10: {serving['recall']}")
    return {"rows": rows, "helip": ours, "hnswlib": theirs, "ratios": ratios, "index": queries,
            "serving": serving}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 60_000])
    parser.add_argument("--matrices", type=Path, help="a folder of image.npy and text.npy")
    parser.add_argument("--of", type=int, help="take the first rows of a folder of so many")
    parser.add_argument("--dims", default="1280x384")
    parser.add_argument("-k", "--k", type=int, default=50)
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--breadth", type=int, default=64, help="of the queries that are served")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--out", type=Path, default=Path("build/bench/pair_index.json"))
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--reach", type=float, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--ef", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(CHILDREN[arguments.child](arguments)))
        return
    result = {
        "dims": arguments.dims, "k": arguments.k, "threads": arguments.threads,
        "kernel": os.environ.get("HELIP_KERNEL"),
        "runs": [compare(arguments, rows) for rows in arguments.rows],
    }  # fmt: skip
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
