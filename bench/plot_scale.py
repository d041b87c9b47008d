"""Draws the curves that bench/scale.py measured: docs/pictures/scale.png.

    python bench/plot_scale.py build/bench/scale.json

Recall against targets a second, end to end, a panel for each N; up and to the right is better. Of
each side the points that no other of its own beats are joined; hollow ones were scaled from a part
of the targets. Several files may be given: of a side that is in two at the same N the later counts.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from scale import frontier

# A colour for a family, apart for every kind of colour blindness; a line and a mark for a member.
HELIP, FAISS, HNSWLIB, USEARCH, SCANN, DESCENT = (
    "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#B8860B", "#595959",
)  # fmt: skip
STYLES: dict[str, tuple[str, str, str, str]] = {  # label, colour, line, mark
    "helip-partition": ("helip, partition", HELIP, "-", "o"),
    "helip-hnsw": ("helip, hnsw", HELIP, "--", "s"),
    "helip-exact": ("helip, exact", HELIP, "", "*"),
    "faiss-ivf": ("faiss IVF-Flat", FAISS, "-", "o"),
    "faiss-sq8": ("faiss IVF-SQ8", FAISS, "--", "s"),
    "faiss-hnsw": ("faiss HNSW32", FAISS, ":", "^"),
    "hnswlib": ("hnswlib", HNSWLIB, "-", "o"),
    "usearch-bf16": ("usearch bf16", USEARCH, "-", "o"),
    "usearch-i8": ("usearch i8", USEARCH, "--", "s"),
    "scann": ("scann", SCANN, "-", "o"),
    "pynndescent": ("pynndescent", DESCENT, "-", "o"),
    "pynndescent-product": ("pynndescent, product", DESCENT, "--", "s"),
}
GREY = "#595959"
EXACT = 0.9981  # where what misses nothing is drawn
TICKS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)

Cell = dict[str, Any]


def merged(paths: list[Path]) -> tuple[dict[int, Cell], dict[str, Any]]:
    """The cells of all files by N, and what the last file says of its machine."""
    cells: dict[int, Cell] = {}
    about: dict[str, Any] = {}
    for path in paths:
        about = json.loads(path.read_text())
        for cell in about.pop("cells"):
            known = cells.setdefault(cell["rows"], {**cell, "sides": {}})
            known["sides"].update(cell["sides"])
    return dict(sorted(cells.items())), about


def place(recall: float) -> float:
    """On the axis: equal steps for equal factors of what is missed."""
    return float(-np.log10(1 - min(recall, EXACT)))


def draw(cells: dict[int, Cell], about: dict[str, Any], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    speeds = [
        rows / point["seconds"]
        for rows, cell in cells.items()
        for side in cell["sides"].values()
        for point in side["points"]
        if point["recall"] >= TICKS[0]
    ]
    bounds = min(speeds) / 1.6, max(speeds) * 1.8
    figure, panels = pyplot.subplots(
        1, len(cells), figsize=(1.4 + 5.2 * len(cells), 6.8), dpi=100, sharey=True, squeeze=False
    )
    for axes, (rows, cell) in zip(panels[0], cells.items(), strict=True):
        for name in reversed(STYLES):  # helip above all
            if name in cell["sides"]:
                draw_side(axes, name, rows, cell["sides"][name]["points"])
        axes.set_xlim(place(TICKS[0]) - 0.05, place(EXACT) + 0.1)
        axes.set_yscale("log")
        axes.set_ylim(*bounds)
        axes.set_xticks(
            [place(tick) for tick in TICKS] + [place(EXACT)],
            [f"{100 * tick:g}" for tick in TICKS] + ["all"],
        )
        steps = [step * 10.0**power for power in range(-1, 6) for step in (1, 3)]
        steps = [step for step in steps if bounds[0] <= step <= bounds[1]]
        axes.set_yticks(steps, [f"{step:,g}" for step in steps])
        axes.minorticks_off()
        axes.grid(color="#DDDDDD", lw=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelsize=12, colors=GREY)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title(f"{rows:,} pairs", loc="left", size=15, weight="bold", pad=8)
        axes.set_xlabel(f"recall@{cell['k']}, %", size=13, color=GREY)
        axes.text(
            0.0, -0.17, textwrap.fill(unfinished(cell), 66), transform=axes.transAxes, size=10.5,
            color=GREY, va="top",
        )  # fmt: skip
    panels[0][0].set_ylabel("targets a second, end to end", size=13, color=GREY)
    used = [name for name in STYLES if any(name in cell["sides"] for cell in cells.values())]
    figure.legend(
        handles=[
            Line2D(
                [], [], color=colour, ls=line or "none", marker=mark, lw=width(name),
                ms=size(name), label=label,
            )
            for name, (label, colour, line, mark) in STYLES.items()
            if name in used
        ],
        loc="lower center", ncols=2 if len(cells) < 2 else 4, frameon=False,
        fontsize=12, handlelength=2.8, columnspacing=1.8,
    )  # fmt: skip
    scaled = any(
        point["scaled"]
        for cell in cells.values()
        for side in cell["sides"].values()
        for point in side["points"]
    )
    threads, (image, text) = about["threads"], about["dims"]
    wide = len(cells) > 1
    left = 0.95 / figure.get_figwidth()
    title = (
        f"Hard pairs{' by approximate search' if wide else ''}: build, search, rank; {image} + "
        f"{text} dimensions, {threads} threads" + (" (hollow: scaled)" if scaled else "")
    )
    title_size = 16 if len(cells) > 2 else 12
    figure.suptitle(title, x=left, ha="left", size=title_size, y=0.975)
    bottom = 0.3 if wide else 0.38
    figure.subplots_adjust(left=left, right=0.99, top=0.865, bottom=bottom, wspace=0.05)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    print(f"wrote {out}")


def draw_side(axes: Any, name: str, rows: int, points: list[dict[str, Any]]) -> None:
    _, colour, line, mark = STYLES[name]
    best = [point for point in frontier(points) if point["recall"] >= TICKS[0]]
    if not best:
        return
    axes.plot(
        [place(point["recall"]) for point in best], [rows / point["seconds"] for point in best],
        ls=line or "none", color=colour, lw=width(name), zorder=3 if is_helip(name) else 2,
    )  # fmt: skip
    for point in best:
        axes.plot(
            place(point["recall"]), rows / point["seconds"], mark, color=colour, ms=size(name),
            mfc="white" if point["scaled"] else colour, mew=1.5,
            zorder=4 if is_helip(name) else 2.5,
        )  # fmt: skip


def unfinished(cell: Cell) -> str:
    """The sides that were stopped, and with how many points."""
    parts: dict[str, list[str]] = {}
    for name, side in cell["sides"].items():
        if side["ended"]:
            kept = len(side["points"])
            why = side["ended"].removeprefix("took ")
            parts.setdefault(why, []).append(STYLES[name][0] + ("" if kept else " (no point)"))
    return "; ".join(f"stopped, {why}: {', '.join(names)}" for why, names in parts.items())


def is_helip(name: str) -> bool:
    return name.startswith("helip")


def width(name: str) -> float:
    return 3.0 if is_helip(name) else 1.6


def size(name: str) -> float:
    return 15 if name == "helip-exact" else 8 if is_helip(name) else 5.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "results", type=Path, nargs="*", default=[Path("build/bench/scale.json")], help="of scale"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/pictures/scale.png"))
    arguments = parser.parse_args()
    draw(*merged(arguments.results), arguments.out)


if __name__ == "__main__":
    main()
