"""What plots share: colours that colour-blind readers tell apart, axes, notes, and samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.errors import needed

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/.
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, "#e69f00")
MARKERS = "os^Dv<>p"  # beside colours, for print without any
GREY, LIGHT, INK = "#595959", "#d4d4d8", "#1f2937"
DPI = 150

Rows = npt.NDArray[np.int64]


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Any, Any]:
    """(figure, axes [rows * columns]) in the house style; pyplot's state stays the caller's.

    Raises UnsupportedError without matplotlib.
    """
    with needed("plots are drawn by matplotlib", "helip[log]"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(GREY)
        axes.tick_params(labelsize=9, colors=GREY, labelcolor=INK)
        axes.grid(color="#e5e7eb", linewidth=0.7)
        axes.set_axisbelow(True)
    return figure, panels


def label(axes: Any, title: str, x: str, y: str) -> None:
    """Title and names of both axes, with their units."""
    axes.set_title(title, fontsize=11, loc="left", color=INK)
    axes.set_xlabel(x, fontsize=9.5, color=INK)
    axes.set_ylabel(y, fontsize=9.5, color=INK)


def note(figure: Any, text: str) -> None:
    """What was drawn, below the axes: how many rows, and whether they are a sample."""
    figure.supxlabel(text, fontsize=8.5, color=GREY, x=0.01, ha="left")


def legend(axes: Any, **options: Any) -> None:
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, **options)


def sampled_targets(pairs: Any, count: int, seed: int) -> Rows:
    """All targets with a hard pair, or ``count`` of them drawn at random, ascending."""
    known = np.flatnonzero(np.asarray(pairs.counts) > 0)
    if len(known) > count:
        known = np.sort(np.random.default_rng(seed).choice(known, count, replace=False))
    return known


def sample_words(drawn: int, known: int, what: str = "targets with a hard pair") -> str:
    """Such as "a random sample of 20,000 of 1,000,000 targets with a hard pair"."""
    if drawn < known:
        return f"a random sample of {drawn:,} of {known:,} {what}"
    return f"all {known:,} {what}"
