"""Approximate mining at scale: helip against libraries for nearest neighbours, end to end.

    python bench/scale.py --rows 50000 200000 --share 0.05
    python bench/scale.py --rows 1000000 --share 0.01 --repeats 1 --limit 5400

Each side goes from two arrays in memory to the ids and scores of every pool: it builds what it
searches in, searches, and ranks by the true product (``scale_sides.py`` describes the sides and
what favours them). Each has a parameter of its search that trades time for recall, graphs one of
their build too, and every value makes a point: the time of the whole way, where what is built is
shared by points but counts in each; recall@k of 1,000 fixed random targets against a float64 brute
force (``scale_truth.py``); the peak of memory beyond the input, which is mapped. Data are real
embeddings grown to N rows (``grown.py``).

A side and its points are one process, watched from outside (``watch.py``); sides alternate, on the
same threads. A side that takes longer than ``--limit`` or more memory than ``--memory-limit`` is
stopped and keeps the points that it had. With ``--share`` below 1 the sides whose search costs the
same for each target search a fixed random part of the targets, and that time is scaled; every such
figure is marked ``~`` and ``"scaled": true``. What helip does is never scaled.

"At equal recall" means: the time that the other side's curve has at helip's recall, interpolated
between its best points; below its curve the time of its cheapest point. A side that does not get
there is held against helip with its time at recall 0.95, a bound in its favour.

``plot_scale.py`` draws the curves.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import gc
import importlib.metadata
import itertools
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from scale_truth import truth_of

SIDE_NAMES = (
    "helip-partition", "helip-kept", "helip-hnsw", "helip-exact", "faiss-ivf", "faiss-sq8",
    "faiss-hnsw", "hnswlib", "usearch-bf16", "usearch-i8", "scann", "pynndescent",
    "pynndescent-product",
)  # fmt: skip
JUDGED = "helip-partition"
REGION = 0.95  # recall from which on helip is to be so much faster
GOAL = 5.0
SAMPLE = 1000
ENOUGH = 0.995  # recall of the candidates that k′ must allow; and beyond which no sweep goes on
UNSUPPORTED = 3  # exit status of a side that cannot run here

# A point: level, recall, seconds, memory of one value of a sweep. A run: the points that one
# process measured, and why it ended. A cell: rows and sides, each with medians over its runs.
Point = dict[str, Any]
Run = dict[str, Any]
Cell = dict[str, Any]


# One run, in a process of its own: one line of JSON for each step that is done.


def child(arguments: argparse.Namespace) -> None:
    from scale_sides import SIDES
    from scale_truth import recall
    from watch import held

    with suppress(OSError):  # where memory runs out, this process goes and no other
        Path("/proc/self/oom_score_adj").write_text("1000")
    k, data = arguments.k, arguments.data
    truth = truth_of(data, k, SAMPLE)
    wide = truth.wide(k, ENOUGH)
    image, text = (np.load(data / f"{name}.npy", mmap_mode="r") for name in ("image", "text"))
    kind = SIDES[arguments.child]
    try:  # loads libraries and compiles
        few = kind(image[:3000], text[:3000], k=k, wide=wide, threads=arguments.threads)
        few.build(few.efforts()[0])
        few.solve(few.levels()[0], np.arange(3000))
        few.drop()
        del few
    except (ModuleNotFoundError, ImportError) as error:
        print(error, file=sys.stderr)
        sys.exit(UNSUPPORTED)
    for part in (image, text):  # the input is in memory
        part.max()
    side = kind(image, text, k=k, wide=wide, threads=arguments.threads)
    targets = measured_targets(len(image), arguments.share if side.linear else 1.0, truth.targets)
    sampled = np.searchsorted(targets, truth.targets)
    settle()
    say(event="start", held=held())
    for effort in side.efforts():
        started, used = time.perf_counter(), time.process_time()
        side.build(effort)
        built, built_used = time.perf_counter() - started, time.process_time() - used
        say(event="built", seconds=built)
        for level in side.levels():
            settle()
            say(event="search")
            started, used = time.perf_counter(), time.process_time()
            ids, _ = side.solve(level, targets)
            solved, used = time.perf_counter() - started, time.process_time() - used
            say(event="solved")
            found = recall(truth, ids[sampled], image, text)
            say(
                event="point",
                level=str(level) if effort is None else f"{effort}/{level}",
                recall=found[0],
                recall_limits=found[1:],
                seconds=built + solved * len(image) / len(targets),
                build_seconds=built,
                build_cpu_seconds=built_used,
                measured_seconds=solved,
                measured_cpu_seconds=used,
                measured_targets=len(targets),
                scaled=len(targets) < len(image),
                about=side.facts(),
            )
            del ids
            if side.linear and found[0] > ENOUGH:
                break
        side.drop()
        settle()
        say(event="dropped")


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def settle() -> None:
    """Gives back what is free, so that it counts when it is used again."""
    gc.collect()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def measured_targets(rows: int, share: float, sample: np.ndarray) -> np.ndarray:
    """The targets that are searched, in order: all, or the sample and more up to the share."""
    if share >= 1:
        return np.arange(rows)
    others = np.setdiff1d(np.arange(rows), sample)
    more = max(0, round(share * rows) - len(sample))
    drawn = np.random.default_rng(1).choice(others, min(more, len(others)), replace=False)
    return np.sort(np.concatenate((sample, drawn)))


# All runs of a size, and what they say.


def start(side: str, data: Path, arguments: argparse.Namespace) -> Run:
    """Runs a side in a process of its own, with as many points as it comes to."""
    from watch import Watched

    threads = str(arguments.threads)
    watched = Watched(
        [
            sys.executable, __file__, "--child", side, "--data", str(data), "--k",
            str(arguments.k), "--threads", threads, "--share", str(arguments.share),
        ],
        environment={
            **os.environ,
            **{f"{name}_NUM_THREADS": threads for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")},
        },
        seconds=arguments.limit,
        memory=arguments.memory_limit * 1e9,
    )  # fmt: skip
    run: Run = {"points": [], "ended": ""}
    before = built = solved = 0
    for line in watched.lines():
        if not line.startswith('{"event": '):
            continue  # of a library
        what = json.loads(line)
        event = what.pop("event")
        if event == "start":
            before = what["held"]
            watched.restart_peak()
        elif event == "built":
            built, run["build_seconds"] = watched.peak, what["seconds"]
        elif event in ("search", "dropped"):
            watched.restart_peak()
        elif event == "solved":
            solved = watched.peak
        elif event == "point":
            run["points"].append({**what, "extra_mb": (max(built, solved) - before) / 1e6})
            print(f"    {side}: {brief(run['points'][-1])}", file=sys.stderr, flush=True)
    run["ended"] = watched.ended
    if watched.status == UNSUPPORTED:
        run["ended"] = f"not installed: {watched.errors.strip().splitlines()[-1]}"
    elif watched.status != 0 and not watched.ended:
        last = watched.errors.strip().splitlines()[-1:] or [f"status {watched.status}"]
        run["ended"] = f"failed: {last[0]}"
    if run["ended"]:
        run["most_mb"] = (watched.most - before) / 1e6
        print(f"    {side}: {run['ended']}", file=sys.stderr, flush=True)
    return run


def brief(point: Point) -> str:
    mark = "~" if point["scaled"] else ""
    return (
        f"{point['level']}: recall {point['recall']:.4f}, {mark}{point['seconds']:.1f} s, "
        f"{point['extra_mb']:.0f} MB"
    )


def measure(data: Path, rows: int, arguments: argparse.Namespace) -> Iterable[Cell]:
    """The cell so far, after each run of ``repeats`` rounds over all sides."""
    truth = truth_of(data, arguments.k, SAMPLE)
    runs: dict[str, list[Run]] = {side: [] for side in arguments.sides}
    for repeat in range(arguments.repeats):
        for side in arguments.sides[:: 1 if repeat % 2 == 0 else -1]:
            if runs[side] and not runs[side][0]["points"]:
                continue  # it will not do better
            print(f"  N = {rows:,}, {side}, round {repeat + 1}", file=sys.stderr, flush=True)
            runs[side].append(start(side, data, arguments))
            cell = summary(rows, runs)
            cell.update(k=arguments.k, k_wide=truth.wide(arguments.k, ENOUGH))
            yield cell


def summary(rows: int, runs: dict[str, list[Run]]) -> Cell:
    """Medians of each point, and for each of helip's points how long the others take for it."""
    sides = {
        name: {
            "points": medians([run["points"] for run in of_side]),
            "ended": next((run["ended"] for run in of_side if run["ended"]), ""),
            "build_seconds": next(
                (run["build_seconds"] for run in of_side if "build_seconds" in run), None
            ),
            "runs": of_side,
        }
        for name, of_side in runs.items()
        if of_side
    }
    return {"rows": rows, "sides": sides, "over_helip": ratios(runs)}


def medians(rounds: list[list[Point]]) -> list[Point]:
    """One point for each level, with the median of its seconds and the most of its memory."""
    of_level: dict[Any, list[Point]] = {}
    for points in rounds:
        for point in points:
            of_level.setdefault(point["level"], []).append(point)
    return [
        {
            **points[0],
            "recall": statistics.median(point["recall"] for point in points),
            "seconds": statistics.median(point["seconds"] for point in points),
            "seconds_of_repeats": [point["seconds"] for point in points],
            "extra_mb": max(point["extra_mb"] for point in points),
        }
        for points in of_level.values()
    ]


def ratios(runs: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """For each level of helip's partitions: time of each other side over its own.

    ``sides`` at its recall, ``short`` at recall ``REGION`` of those that get no further than that.
    """
    found = []
    for level in dict.fromkeys(
        point["level"] for run in runs.get(JUDGED, []) for point in run["points"]
    ):
        over: dict[str, dict[str, list[float]]] = {"sides": {}, "short": {}}
        recalls = []
        for repeat, own in enumerate(runs[JUDGED]):
            for point in (point for point in own["points"] if point["level"] == level):
                recalls.append(point["recall"])
                for side, of_side in runs.items():
                    if side == JUDGED or repeat >= len(of_side):
                        continue
                    points, kind = of_side[repeat]["points"], "sides"
                    seconds = seconds_at(points, point["recall"])
                    if seconds is None:
                        seconds, kind = seconds_at(points, min(REGION, point["recall"])), "short"
                    if seconds is not None:
                        over[kind].setdefault(side, []).append(seconds / point["seconds"])
        found.append({
            "level": level,
            "recall": statistics.median(recalls),
            **{
                kind: {
                    side: {"median": statistics.median(all_), "min": min(all_), "max": max(all_)}
                    for side, all_ in of_kind.items()
                }
                for kind, of_kind in over.items()
            },
        })  # fmt: skip
    return found


def frontier(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats in both recall and time, by falling recall."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (-point["recall"], point["seconds"])):
        if not best or point["seconds"] < best[-1]["seconds"]:
            best.append(point)
    return best


def seconds_at(points: Iterable[Point], recall: float) -> float | None:
    """Time of a curve at a recall; None where it does not reach it."""
    best = frontier(points)
    if not best or best[0]["recall"] < recall:
        return None
    for above, below in itertools.pairwise(best):
        if below["recall"] < recall:
            # Curves are close to straight lines in log time over the log of what is missed.
            missed = [-math.log(1.0001 - at) for at in (below["recall"], recall, above["recall"])]
            share = (missed[1] - missed[0]) / (missed[2] - missed[0])
            return float(below["seconds"] ** (1 - share) * above["seconds"] ** share)
    return float(best[-1]["seconds"])


# What is printed.


def show(cell: Cell, threads: int) -> None:
    rows = cell["rows"]
    print(f"\nN = {rows:,}, k = {cell['k']}, k′ = {cell['k_wide']}, {threads} threads")
    print(
        f"{'side':<21}{'level':>7}{'recall@' + str(cell['k']):>11}  {'(95 % limits)':<18}"
        f"{'seconds':>10}{'of it build':>13}{'targets/s':>11}{'extra MB':>10}"
    )
    for name, side in cell["sides"].items():
        for point in side["points"]:
            low, high = point["recall_limits"]
            seconds = ("~" if point["scaled"] else "") + f"{point['seconds']:.1f}"
            print(
                f"{name:<21}{point['level']:>7}{point['recall']:>11.4f}  "
                f"{f'({low:.4f} … {high:.4f})':<18}{seconds:>10}{point['build_seconds']:>13.1f}"
                f"{rows / point['seconds']:>11.0f}{point['extra_mb']:>10.0f}"
            )
        if side["ended"]:
            built = side["build_seconds"]
            print(
                f"{name:<21}{side['ended']}"
                + (f"; built in {built:.0f} s" if built is not None else "")
            )
    for at in cell["over_helip"]:
        print(f"time of each side over that of {JUDGED} {at['level']}, recall {at['recall']:.4f}")
        for kind, where in (("sides", "there"), ("short", f"at {REGION}, and not there")):
            ranked = sorted(at[kind].items(), key=lambda of: of[1]["median"])
            if ranked:
                print(f"  {where}: " + ", ".join(
                    f"{side} {over['median']:.2f} ({over['min']:.2f} … {over['max']:.2f})"
                    for side, over in ranked
                ))  # fmt: skip
    for line in goals(cell):
        print(line)


def goals(cell: Cell) -> list[str]:
    """Whether each point of helip in the region is so much faster than the best library."""
    lines = []
    for at in cell["over_helip"]:
        if at["recall"] < REGION:
            continue
        times = {
            (side, where): over["median"]
            for kind, where in (("sides", ""), ("short", f" at {REGION}"))
            for side, over in at[kind].items()
            if not side.startswith("helip")
        }
        if not times:
            lines.append(f"goal, recall {at['recall']:.4f}: no library comes near")
            continue
        best = min(times, key=lambda side: times[side])
        lines.append(
            f"goal, recall {at['recall']:.4f}: best is {best[0]}{best[1]} with {times[best]:.2f} "
            f"times the time, at least {GOAL:.0f} is {'met' if times[best] >= GOAL else 'NOT met'}"
        )
    return lines


def facts(arguments: argparse.Namespace) -> dict[str, Any]:
    from scale_sides import PACKAGES

    from helip.common.machine import processor_name, usable_processors

    versions: dict[str, str | None] = {}
    for package in ("helip", *PACKAGES):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    if versions["helip"] is None:  # a build in the source tree
        import helip

        versions["helip"] = helip.__version__
    return {
        "processor": processor_name(),
        "cores": usable_processors(),
        "versions": versions,
        "dims": list(arguments.dims),
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "share": arguments.share,
        "limit_seconds": arguments.limit,
        "limit_gb": arguments.memory_limit,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def memory_limit() -> float:
    """GB that a side may take: nine tenths of what is free."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(line for line in lines if line.startswith("MemAvailable"))
        return round(0.9 * int(free.split()[1]) * 1024 / 1e9, 1)
    return math.inf


def widths(text: str) -> tuple[int, int]:
    image, _, words = text.partition("x")
    return int(image), int(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, nargs="+", default=[50_000, 200_000, 1_000_000])
    add("--dims", type=widths, default=(1280, 384), help="384x768 or 1280x384")
    add("--source", default="grown", help="of the rows: grown, icons or a folder of matrices")
    add("--k", type=int, default=50)
    add("--sides", nargs="+", choices=SIDE_NAMES, default=list(SIDE_NAMES))
    add("--repeats", type=int, default=3)
    add("--threads", type=int, default=2)
    add("--share", type=float, default=1.0, help="of the targets that linear sides search")
    add("--limit", type=float, default=1200, metavar="SECONDS", help="of a side, all its points")
    add("--memory-limit", type=float, default=memory_limit(), metavar="GB", help="of a side")
    add("--cache", type=Path, default=Path(".cache/bench"), help="where the data are kept")
    add("--out", type=Path, default=Path("build/bench/scale.json"))
    add("--child", help=argparse.SUPPRESS)
    add("--data", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return

    from real_icons import rows_folder

    about = facts(arguments)
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    cells: dict[int, Cell] = {}
    for rows in arguments.rows:
        data = rows_folder(arguments.source, arguments.cache, arguments.dims, rows)
        for cell in measure(data, rows, arguments):  # written after each run
            cells[rows] = cell
            result = {**about, "cells": list(cells.values())}
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")
        show(cells[rows], arguments.threads)


if __name__ == "__main__":
    main()
