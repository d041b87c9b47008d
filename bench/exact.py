"""Exact mining: helip against the reference algorithm, plain and tuned, and against faiss.

    python bench/exact.py
    python bench/exact.py --rows 20000 --dims 1280x384 --k 50 --sides reference helip

The first line measures everything and takes about an hour and a half on two cores.

Every run is a process of its own, so that its peak memory is its own; the sides alternate, on the
same threads, over real embeddings grown to N rows (``grown.py``). The sides and what each is
allowed are described in ``exact_sides.py``. Ratios are medians over repeats, with the least and the
greatest. Above ``--sample-above`` rows the sides whose cost is exactly linear in the number of
targets solve a fixed random part of the targets against all rows, and their time is scaled; every
such figure is marked ``~`` and ``"scaled": true``.

Pairs are counted as the table has them, N·(N − 1): an unordered pair serves two targets. The dense
limits are what N²/2 products of each modality would take at the rates that plain matrix products
reach on this machine during this run; pruning can beat them. Extra memory is the peak of resident
memory beyond the input, which is resident before.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime
import gc
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

SIDE_NAMES = (
    "reference", "tuned", "faiss", "helip", "helip-avx2",
    "helip-kept", "helip-portable", "helip-gpu", "reference-gpu", "faiss-gpu",
    "cuvs",  # those from helip-kept on when asked for
)  # fmt: skip
HEAD = (60_000, (1280, 384), 50)  # the cell that the goals speak of
BLOCK = 2048  # targets are drawn in blocks
UNSUPPORTED = 3  # exit status of a side that cannot run here

# A run: what one process measured. A cell: rows, dims and k, and what each side did there.
Run = dict[str, Any]
Cell = dict[str, Any]


# One run, in a process of its own.


def child(arguments: argparse.Namespace) -> None:
    from exact_sides import SIDES, dense_rates

    from helip.common.errors import UnsupportedError

    threads, k = arguments.threads, arguments.k[0]
    if arguments.child == "limits":
        print(json.dumps(dense_rates(sum(arguments.dims[0]), threads)))
        return
    image, text = (np.load(arguments.data / f"{name}.npy") for name in ("image", "text"))
    try:
        side = SIDES[arguments.child][0](k, threads)
        side.prepare(image[:600], text[:600])  # loads libraries
        side.solve(np.arange(len(image[:600])))
    except (ModuleNotFoundError, UnsupportedError) as error:
        print(error, file=sys.stderr)
        sys.exit(UNSUPPORTED)
    side.tune(image, text)
    side.prepare(image[:1], text[:1])  # lets go of what the steps before held
    part = measured_targets(len(image), arguments.share)
    targets = part if side.linear else np.arange(len(image))
    memory = Resident()
    started = time.perf_counter()
    side.prepare(image, text)
    prepared = time.perf_counter()
    ids = side.solve(targets)
    solved = time.perf_counter()
    extra = memory.extra_bytes()
    run = {
        "seconds": prepared - started + (solved - prepared) * len(image) / len(targets),
        "measured_seconds": solved - started,
        "measured_targets": len(targets),
        "scaled": len(targets) < len(image),
        "extra_mb": extra / 1e6,
        "sample": np.sort(ids[part[:: max(1, len(part) // 500)]], axis=1).tolist(),
        **side.facts,
    }
    print(json.dumps(run))


def measured_targets(rows: int, share: float) -> np.ndarray:
    """The targets that a linear side solves: all, or a fixed random draw of blocks, in order."""
    if share >= 1:
        return np.arange(rows)
    blocks = max(1, rows // BLOCK)
    chosen = np.random.default_rng(0).permutation(blocks)[: max(1, round(blocks * share))]
    targets = (np.sort(chosen)[:, None] * BLOCK + np.arange(BLOCK)).ravel()
    return targets[targets < rows]


class Resident:
    """Peak resident memory from here on, beyond what is resident now."""

    def __init__(self) -> None:
        gc.collect()
        with contextlib.suppress(AttributeError, OSError):
            # What was freed goes back first, so that it counts when it is used again.
            ctypes.CDLL(None).malloc_trim(0)
        try:
            Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
            self._before = _status("VmRSS")
            self._peak: Callable[[], int] = lambda: _status("VmHWM")
        except (OSError, KeyError):
            self._peak = _max_resident
            self._before = self._peak()

    def extra_bytes(self) -> int:
        return self._peak() - self._before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(dict(line.split(":", 1) for line in lines)[name].split()[0]) * 1024


def _max_resident() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


# All runs of a data set, and what they say.


def start(name: str, arguments: argparse.Namespace, **options: Any) -> Run | None:
    """Runs a side in a process of its own; None where it cannot run on this machine."""
    from exact_sides import SIDES

    command = [sys.executable, __file__, "--child", name, "--threads", str(arguments.threads)]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    threads = str(arguments.threads)
    environment = {
        **os.environ,
        **{f"{name}_NUM_THREADS": threads for name in ("OMP", "MKL", "OPENBLAS")},
        **(SIDES[name][1] if name in SIDES else {}),
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode == UNSUPPORTED:
        print(f"    {name} is left out: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    if done.returncode != 0:
        raise SystemExit(f"{name} failed with status {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    data: Path, rows: int, dims: tuple[int, int], arguments: argparse.Namespace
) -> list[Cell]:
    """One cell for each k, from ``repeats`` rounds over all sides and all k."""
    sides = list(arguments.sides)
    share = arguments.sample_slow if rows > arguments.sample_above else 1.0
    runs: dict[int, dict[str, list[Run]]] = {k: {side: [] for side in sides} for k in arguments.k}
    limits: list[Run] = []
    for repeat in range(arguments.repeats):
        limits.append(start("limits", arguments, dims=f"{dims[0]}x{dims[1]}") or {})
        for k in arguments.k:
            for side in sides[:: 1 if repeat % 2 == 0 else -1]:
                run = start(side, arguments, data=data, k=k, share=share)
                if run is None:
                    sides.remove(side)
                    continue
                runs[k][side].append(run)
                mark = "~" if run["scaled"] else ""
                print(
                    f"    N = {rows:,}, k = {k}, {side}: {mark}{run['seconds']:.1f} s",
                    file=sys.stderr,
                )
    rates = {name: max(limit[name] for limit in limits) for name in limits[0]}
    return [summary(rows, dims, k, {s: runs[k][s] for s in sides}, rates) for k in arguments.k]


def summary(
    rows: int, dims: tuple[int, int], k: int, runs: dict[str, list[Run]], rates: dict[str, float]
) -> Cell:
    """Medians, ratios over helip and over the dense limits, memory, agreement, filters."""
    judge = runs.get("helip") or next(iter(runs.values()))
    pairs = rows * (rows - 1)
    # N²/2 products of each modality, in pairs counted twice.
    limit = {
        name: 2e9 * rate / sum(dims) for name, rate in rates.items() if name != "int8_of_helip"
    }
    sides = {}
    for name, repeats in runs.items():
        seconds = [run["seconds"] for run in repeats]
        speed = pairs / statistics.median(seconds)
        sides[name] = {
            "seconds": statistics.median(seconds),
            "seconds_of_repeats": seconds,
            "scaled": repeats[0]["scaled"],
            "measured_targets": repeats[0]["measured_targets"],
            "pairs_per_second": speed,
            "of_limit": {kind: speed / value for kind, value in limit.items()},
            "extra_mb": max(run["extra_mb"] for run in repeats),
            "same_ids": same(judge[0]["sample"], repeats[0]["sample"]),
            **{key: repeats[0][key] for key in FACTS if key in repeats[0]},
        }
        if "helip" in runs:
            ratios = [
                run["seconds"] / own["seconds"]
                for run, own in zip(repeats, runs["helip"], strict=True)
            ]
            sides[name]["over_helip"] = spread(ratios)
    return {
        "rows": rows,
        "dims": list(dims),
        "k": k,
        "rates_gmacs": rates,
        "limit_pairs_per_second": limit,
        "sides": sides,
    }


FACTS = ("tile", "kept", "k_wide", "certified", "certified_of_sample", "filters")


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def same(expected: list[list[int]], found: list[list[int]]) -> float:
    """Share of the expected hard pairs that were found."""
    hits = sum(len(set(a) & set(b) - {-1}) for a, b in zip(expected, found, strict=True))
    return hits / max(1, sum(len(set(row) - {-1}) for row in expected))


# What is printed.


def show(cell: Cell, threads: int) -> None:
    rates, limits = cell["rates_gmacs"], cell["limit_pairs_per_second"]
    print(
        f"\nN = {cell['rows']:,}, d = {cell['dims'][0]} + {cell['dims'][1]}, k = {cell['k']}, "
        f"{threads} threads; dense symmetric limits here: "
        + ", ".join(
            f"{kind} {limits[kind] / 1e6:.0f} Mpairs/s ({rates[kind]:.0f} G multiply-adds/s)"
            for kind in ("float32", "bfloat16", "int8")
        )
    )
    print(
        f"{'side':<15}{'seconds':>10}{'time / helip (least … most)':>30}{'Mpairs/s':>10}"
        f"{'/ int8':>8}{'/ fp32':>8}{'extra MB':>10}{'same ids':>10}  notes"
    )
    for name, side in cell["sides"].items():
        ratio = side.get("over_helip")
        over = f"{ratio['median']:.2f} ({ratio['min']:.2f} … {ratio['max']:.2f})" if ratio else "-"
        seconds = ("~" if side["scaled"] else "") + f"{side['seconds']:.2f}"
        print(
            f"{name:<15}{seconds:>10}{over:>30}{side['pairs_per_second'] / 1e6:>10.0f}"
            f"{side['of_limit']['int8']:>8.2f}{side['of_limit']['float32']:>8.2f}"
            f"{side['extra_mb']:>10.0f}{side['same_ids']:>10.4f}  {notes(side)}"
        )
    for name, side in cell["sides"].items():
        if side.get("filters"):
            print(f"{name} filters: {flat(side['filters'])}")


def notes(side: dict[str, Any]) -> str:
    parts = []
    if side["scaled"]:
        parts.append(f"scaled from {side['measured_targets']:,} targets")
    if "tile" in side:
        parts.append(f"tile {side['tile'][0]} x {side['tile'][1]}")
    if "k_wide" in side:
        parts.append(f"k′ {side['k_wide']}, {side['certified']:.2%} certified")
    return "; ".join(parts)


def flat(values: dict[str, Any], prefix: str = "") -> str:
    """A nested dictionary on one line; shares as per cent."""
    parts = []
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            parts.append(flat(value, f"{name} "))
        elif isinstance(value, float) and prefix:
            parts.append(f"{name} {100 * value:.3g} %")
        else:
            parts.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(parts)


def goals(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """Each goal with what was measured; ``value`` and ``met`` are None where nothing was."""
    found = {(cell["rows"], tuple(cell["dims"]), cell["k"]): cell for cell in cells}
    rows, dims, k = HEAD
    head = found.get(HEAD)
    large = found.get((200_000, dims, k))
    place = f"N = {rows:,}, d = {dims[0]} + {dims[1]}"

    def side(cell: Cell | None, name: str) -> dict[str, Any]:
        return cell["sides"].get(name, {}) if cell else {}

    def seconds(cell: Cell | None, name: str = "helip") -> float | None:
        return side(cell, name).get("seconds")

    def ratio(above: float | None, below: float | None) -> float | None:
        return above / below if above is not None and below is not None else None

    def over(name: str) -> float | None:
        return side(head, name).get("over_helip", {}).get("median")

    listed: list[tuple[str, float | None, str, float]] = [
        (f"time of the reference / helip, {place}, k = {k}", over("reference"), ">=", 30),
        (f"time of the tuned reference / helip, {place}, k = {k}", over("tuned"), ">=", 10),
        (f"time of faiss and rerank / helip, {place}, k = {k}", over("faiss"), ">=", 6),
        (
            f"pairs/s, N(N − 1), over the dense symmetric int8 limit, {place}, k = {k}",
            side(head, "helip").get("of_limit", {}).get("int8"), ">=", 1,
        ),
        (
            f"time of k = 500 / k = {k}, {place}",
            ratio(seconds(found.get((rows, dims, 500))), seconds(head)), "<=", 1.5,
        ),
        (
            f"time of N = 200,000 / N = {rows:,}, d = {dims[0]} + {dims[1]}, k = {k}",
            ratio(seconds(large), seconds(head)), "<=", (200_000 / rows) ** 2,
        ),
        (
            f"time of the reference / helip's AVX2 kernel, {place}, k = {k}",
            ratio(seconds(head, "reference"), seconds(head, "helip-avx2")), ">=", 12,
        ),
    ]  # fmt: skip
    listed += [
        (
            f"MB beyond the input, N = 200,000, d = {cell['dims'][0]} + {cell['dims'][1]}, "
            f"k = {cell['k']}",
            side(cell, "helip").get("extra_mb"), "<=", 1000,
        )
        for cell in found.values()
        if cell["rows"] == 200_000
    ] or [("MB beyond the input, N = 200,000", None, "<=", 1000)]  # fmt: skip
    return [
        {
            "goal": text,
            "bound": f"{'at least' if sign == '>=' else 'at most'} {bound:.4g}",
            "value": value,
            "met": None
            if value is None
            else bool(value >= bound if sign == ">=" else value <= bound),
        }
        for text, value, sign, bound in listed
    ]


def show_goals(listed: list[dict[str, Any]]) -> None:
    width = max(len(goal["goal"]) for goal in listed)
    print("\nGoals")
    for goal in listed:
        value = "-" if goal["value"] is None else f"{goal['value']:.2f}"
        verdict = {True: "met", False: "NOT met", None: "not measured"}[goal["met"]]
        print(f"  {goal['goal']:<{width}}  {goal['bound']:>14}  {value:>9}  {verdict}")


def facts(arguments: argparse.Namespace) -> dict[str, Any]:
    import helip
    from helip.common.machine import processor_name, usable_processors

    about: dict[str, Any] = {"processor": processor_name(), "flags": []}
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        known = dict(line.replace("\t", "").split(":", 1) for line in lines if ":" in line)
        about["flags"] = sorted(set(known.get("flags", "").split()) & set(FLAGS))
    except OSError:
        pass
    versions: dict[str, str | None] = {"helip": helip.__version__}
    for package in ("torch", "faiss-cpu", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        **about,
        "cores": usable_processors(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "sample_slow": arguments.sample_slow,
        "sample_above": arguments.sample_above,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


FLAGS = (
    "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_bf16",
    "amx_int8", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip


def widths(text: str) -> tuple[int, int]:
    image, _, words = text.partition("x")
    return int(image), int(words)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--rows", type=int, nargs="+", default=[20_000, 60_000, 200_000])
    add(
        "--dims", type=widths, nargs="+", default=[(384, 768), (1280, 384)], help="384x768 1280x384"
    )
    add("--k", type=int, nargs="+", default=[50, 500])
    add("--source", default="grown", help="of the rows: grown, icons or a folder of matrices")
    add("--sides", nargs="+", choices=SIDE_NAMES, default=list(SIDE_NAMES[:5]))
    add("--repeats", type=int, default=3)
    add("--threads", type=int, default=2)
    add(
        "--sample-slow",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="share of the targets that linear sides solve above --sample-above rows; 1 for all",
    )
    add("--sample-above", type=int, default=60_000, metavar="ROWS")
    add("--cache", type=Path, default=Path(".cache/bench"), help="where the data are kept")
    add("--out", type=Path, default=Path("build/bench/exact.json"))
    add("--child", help=argparse.SUPPRESS)
    add("--data", type=Path, help=argparse.SUPPRESS)
    add("--share", type=float, default=1.0, help=argparse.SUPPRESS)  # fmt: skip
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return

    from real_icons import rows_folder

    about = facts(arguments)
    print(f"{about['processor']}, {' '.join(about['flags'])}")
    print(", ".join(f"{name} {version}" for name, version in about["versions"].items()))
    cells: list[Cell] = []
    for dims in arguments.dims:
        for rows in arguments.rows:
            data = rows_folder(arguments.source, arguments.cache, dims, rows)
            for cell in measure(data, rows, dims, arguments):
                show(cell, arguments.threads)
                cells.append(cell)
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            result = {**about, "cells": cells, "goals": goals(cells)}
            arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    show_goals(goals(cells))


if __name__ == "__main__":
    main()
