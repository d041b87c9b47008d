"""What the runs of bench/loader.py say: medians, ratios, goals and a table."""

from __future__ import annotations

import statistics
from typing import Any

JUDGED = "helip"
# A run: what one process measured, or why it ended. A cell: pictures, and the runs of each side.
Run = dict[str, Any]
Cell = dict[str, Any]

FIGURES = ("images_s", "images_s_core", "cold", "peak_mb", "disk_mb_s")
# The ratios that are taken of two runs of one repeat.
RATIOS = {"helip_over_it": "images_s", "helip_over_it_core": "images_s_core"}

# By how much helip is to be faster than Pillow, the fastest other side that does the same work, its
# own sequential read, and reading alone.
PILLOW, FASTEST, SEQUENTIAL, STORAGE = 3.0, 1.5, 0.9, 0.9


def summary(about: dict[str, Any], runs: dict[str, list[Run]]) -> Cell:
    """Medians over the repeats, and the ratios of helip to each other side."""
    sides: dict[str, Any] = {}
    for name, of_side in runs.items():
        done = [run for run in of_side if "rows" in run]
        sides[name] = {"runs": of_side, "ended": of_side[-1]["ended"] if of_side else ""}
        for figure in FIGURES:
            if done and all(figure in run for run in done):
                sides[name][figure] = statistics.median(run[figure] for run in done)
        for ratio, figure in RATIOS.items():
            ratios = [
                own[figure] / other[figure]
                for own, other in zip(runs.get(JUDGED, []), of_side, strict=False)
                if "rows" in own and "rows" in other
            ]
            if ratios:
                sides[name][ratio] = {
                    "median": statistics.median(ratios), "min": min(ratios), "max": max(ratios),
                }  # fmt: skip
    return {**about, "sides": sides}


def table(cell: Cell) -> list[str]:
    pictures = cell["pictures"]
    lines = [
        "",
        f"{pictures['rows']:,} {pictures['format']} pictures, shorter side "
        f"{pictures['shorter_side']} px, {pictures['mean_bytes'] / 1000:.0f} KB; "
        f"{cell['order']} order; {cell['storage']}; {cell['workers']} workers, batches of "
        f"{cell['batch_size']}",
        f"{'side':<18}{'images/s':>9}{'a core-s':>9}{'first s':>8}{'peak MB':>8}{'disk MB/s':>10}"
        "  helip / it (least … most), a core-second",
    ]
    for name, side in cell["sides"].items():
        if "images_s" not in side:
            lines.append(f"{name:<18}{side['ended']}")
            continue
        ratio, core = side.get("helip_over_it"), side.get("helip_over_it_core")
        words = f"{ratio['median']:.2f} ({ratio['min']:.2f} … {ratio['max']:.2f})" if ratio else ""
        if core:
            words += f", {core['median']:.2f}"
        notes = ["in its own order"] * (name in cell["own_order"])
        notes += filter(None, [cell["less_work"].get(name)])
        words += f"  ({'; '.join(notes)})" if notes else ""
        lines.append(
            f"{name:<18}{side['images_s']:>9.0f}{side['images_s_core']:>9.0f}"
            f"{side['cold']:>8.2f}{side['peak_mb']:>8.0f}{side.get('disk_mb_s', 0):>10.1f}  {words}"
        )
    return lines + goals(cell)


def goals(cell: Cell) -> list[str]:
    """What docs/benchmarks.md holds helip to, where it was measured.

    Both ratios count, of images a second and of images a core-second; from storage the first alone.
    """
    sides = {name: side for name, side in cell["sides"].items() if "helip_over_it" in side}
    lines = []

    def goal(what: str, name: str, least: float, core: bool = True) -> None:
        ratio = sides[name]["helip_over_it"]["median"]
        counted, words = ratio, f"{ratio:.2f} times"
        if core:
            by_core = sides[name]["helip_over_it_core"]["median"]
            counted, words = min(ratio, by_core), f"{ratio:.2f} ({by_core:.2f} a core-second) times"
        met = "" if counted >= least else "NOT "
        lines.append(f"goal: {words} {what}, at least {least} is {met}met")

    def slowest_ratio(names: list[str], ratio: str) -> str:
        return min(names, key=lambda name: sides[name][ratio]["median"])

    storage = [name for name in sides if name.startswith("pread")]
    others = [
        name
        for name in sides
        if not name.startswith((JUDGED, "pread")) and name not in cell["less_work"]
    ]
    if "open_clip" in sides and "open_clip" not in cell["own_order"]:
        goal("DataLoader + Pillow", "open_clip", PILLOW)
    if others and not storage:
        for ratio in RATIOS:
            fastest = slowest_ratio(others, ratio)
            words = f"the fastest other side, {fastest}"
            if all(words not in line for line in lines):
                goal(words, fastest, FASTEST)
    if "helip-sequential" in sides:
        goal("helip's own sequential read", "helip-sequential", SEQUENTIAL)
    if storage:
        fastest = slowest_ratio(storage, "helip_over_it")
        goal(f"reading alone, {fastest}", fastest, STORAGE, core=False)
    return lines
