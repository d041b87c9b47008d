"""Appends results of benchmarks to a file, a line each: what was how fast, when, and on what.

    python bench/history.py build/bench/exact.json build/bench/open_store.json

A line of ``bench/history.jsonl`` has the commit (with ``+`` where files differ from it), the date,
the processor and the cores, the name of the benchmark, and its figures. Seconds of two machines do
not compare; those of one machine do, while nothing else runs there.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helip.common.machine import processor_name

ROOT = Path(__file__).resolve().parents[1]
HISTORY = ROOT / "bench" / "history.jsonl"
# Of what a benchmark writes, what is worth comparing with another day.
FIGURES = ("seconds", "milliseconds", "kb", "extra_mb", "pairs_per_second", "same_ids")
# What tells one cell of a grid from another.
SHAPE = ("rows", "dims", "k")


def figures(result: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, float]]:
    """The figures of a result by where they stand, such as "20000 1280x384 50 helip seconds"."""
    if isinstance(result, list):
        for part in result:
            yield from figures(part, place)
    elif isinstance(result, Mapping):
        here = (*place, *(_shape(result[key]) for key in SHAPE if key in result))
        for key, value in result.items():
            if key in FIGURES and isinstance(value, int | float):
                yield " ".join((*here, key)), float(f"{value:.4g}")
            elif isinstance(value, Mapping):
                yield from figures(value, here if key == "sides" else (*here, key))
            elif isinstance(value, list):
                yield from figures(value, here)


def line(path: Path) -> dict[str, Any]:
    """What is appended for the result in a file."""
    result = json.loads(path.read_text(encoding="utf-8"))
    return {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "name": path.stem,
        "figures": dict(figures(result)),
    }


def commit() -> str:
    """Short, with ``+`` where the tree differs from it; "unknown" outside of a repository."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        changed = _git(
            "status", "--porcelain", "--untracked-files=no", "--", ":!bench/history.jsonl"
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+" if changed else head


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _shape(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+", help="JSON that benchmarks wrote")
    parser.add_argument("--out", type=Path, default=HISTORY)
    arguments = parser.parse_args()
    lines = [json.dumps(line(path), ensure_ascii=False) for path in arguments.results]
    with arguments.out.open("a", encoding="utf-8") as file:
        file.writelines(f"{each}\n" for each in lines)


if __name__ == "__main__":
    main()
