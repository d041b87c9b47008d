"""How often a row is a hard pair of others (N_k), and how unevenly that is spread.

N_k of a row is the number of targets in whose pool of k it stands. Its skewness, the third
standardised moment, is the measure of hubness of Radovanović, Nanopoulos and Ivanović, Hubs in
space, JMLR 11 (2010), section 2.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.errors import InvalidArgumentError
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.unreadable import unreadable_rows
from helip.reporting.plots.style import BLUE, GREY, label, legend, new_figure, note

_PLACES = 1 << 24  # ids of a block
_POINTS = 500  # of a curve
_LINEAR = 100  # the largest N_k up to which its axis is linear


def hard_pair_counts(pairs: HardPairs) -> npt.NDArray[np.int64]:
    """N_k of each row, int64 [N]: of how many targets it is a hard pair.

    Raises UnsupportedError for a part of a table.
    """
    pairs = pairs._whole()
    size = len(pairs)
    counts = np.zeros(size, dtype=np.int64)
    step = max(1, _PLACES // max(pairs.k, 1))
    for start in range(0, size, step):
        ids = np.asarray(pairs.ids[start : start + step]).ravel()
        counts += np.bincount(ids[ids >= 0], minlength=size)
    return counts


def skewness(counts: npt.NDArray[Any]) -> float:
    """E[(x - mean)³] / std³; 0 where all are equal."""
    centred = counts - counts.mean(dtype=np.float64)
    spread = float(np.sqrt(np.mean(centred**2)))
    return float(np.mean(centred**3)) / spread**3 if spread > 0 else 0.0


def plot_hubness(pairs: HardPairs) -> Any:
    """Distribution of N_k, how often a row is a hard pair, over all rows of the table.

    Of a table that knows its store, without the rows that have no embedding.

    Left: rows by N_k, beside what random pools of the same sizes would give (Poisson). Right: the
    share of all places in pools that the most chosen rows fill. Returns a
    ``matplotlib.figure.Figure``.

    Raises InvalidArgumentError for a table without a hard pair, UnsupportedError for a part of
    a table and without matplotlib.
    """
    unreadable = unreadable_rows(pairs)
    counts = np.delete(hard_pair_counts(pairs), unreadable)
    places = int(counts.sum())
    if not places:
        raise InvalidArgumentError("the table has no hard pair, so that there is nothing to plot")
    figure, (left, right) = new_figure(11, 4.4, 2)
    _draw_distribution(left, counts)
    _draw_concentration(right, counts)
    rows = f"all {len(pairs):,} rows"
    if len(unreadable):
        rows = f"{len(counts):,} rows, without {len(unreadable):,} unreadable ones"
    never = float(np.mean(counts == 0))
    note(
        figure,
        f"{rows}; {places:,} hard pairs; skewness of N_k {skewness(counts):.2f}; "
        f"never chosen {100 * never:.1f} %; most chosen {counts.max():,} times",
    )
    return figure


def _draw_distribution(axes: Any, counts: npt.NDArray[np.int64]) -> None:
    top, mean = int(counts.max()), float(counts.mean())
    # Whole numbers one by one as far as they are few, then bins of equal ratio.
    edges = np.unique(np.r_[np.arange(0, 11), np.geomspace(10, max(top, 11) + 1, 40).astype(int)])
    edges = np.append(edges[edges <= top], top + 1)
    widths = np.diff(edges)
    found = np.histogram(counts, edges)[0] / widths / len(counts)
    drawn = found > 0
    centres = (edges[:-1] + edges[1:] - 1) / 2
    axes.plot(
        centres[drawn], 100 * found[drawn], "o-", color=BLUE, markersize=4, linewidth=1.4,
        label=f"this table, skewness {skewness(counts):.2f}",
    )  # fmt: skip
    axes.plot(
        *_poisson(mean, top), "--", color=GREY, linewidth=1.4,
        label=f"random pools, skewness {mean**-0.5:.2f}",
    )  # fmt: skip
    if top > _LINEAR:
        axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("log")
    axes.set_xlim(-0.1 if top > _LINEAR else -0.02 * top, 1.15 * top)
    axes.set_ylim(bottom=100 * found[drawn].min() / 2, top=300 * found.max())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    label(axes, "How often a row is a hard pair", "N_k, targets that it is a hard pair of",
          "rows with this N_k, %")  # fmt: skip
    legend(axes)


def _draw_concentration(axes: Any, counts: npt.NDArray[np.int64]) -> None:
    ordered = np.cumsum(np.sort(counts)[::-1])
    at = np.unique(np.linspace(0, len(counts), _POINTS + 1).astype(int))
    filled = np.r_[0, ordered][at] / ordered[-1]
    few = max(1, round(len(counts) / 10))
    share = 100 * few / len(counts)
    tenth = 100 * float(ordered[few - 1] / ordered[-1])
    axes.plot(
        100 * at / len(counts), 100 * filled, color=BLUE, linewidth=2,
        label=f"this table: {share:.0f} % of the rows fill {tenth:.0f} % of the places",
    )  # fmt: skip
    axes.plot(share, tenth, "o", color=BLUE)
    axes.plot([0, 100], [0, 100], "--", color=GREY, linewidth=1.4, label="all rows alike")
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 101)
    label(axes, "How unevenly places in pools are spread", "rows, the most chosen first, %",
          "places in pools that they fill, %")  # fmt: skip
    legend(axes, loc="lower right")


def _poisson(mean: float, top: int) -> tuple[Any, Any]:
    """What N_k is where every row is as likely as any other: (values, percent of rows)."""
    values = np.arange(0, top + 1)
    logs = values * np.log(mean) - mean - np.r_[0, np.cumsum(np.log(np.arange(1, top + 1)))]
    return values, 100 * np.exp(logs)
