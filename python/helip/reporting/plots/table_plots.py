"""What a table of hard pairs is like: how alike the pairs are, and how often a row is one.

N_k of a row is the number of targets in whose pool of k it stands. Its skewness, the third
standardised moment, is the measure of hubness of Radovanović, Nanopoulos and Ivanović, Hubs in
space, JMLR 11 (2010), section 2.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from helip.common.errors import InvalidArgumentError
from helip.common.options import Positive, Seed, check
from helip.pairs.cosines import TableCosines
from helip.pairs.hard_pairs import HardPairs
from helip.pairs.unreadable import unreadable_rows
from helip.reporting.plots.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    label,
    legend,
    new_figure,
    note,
    sample_words,
    sampled_targets,
)

_BINS = 60
_PLACES = 1 << 24  # ids of a block
_POINTS = 500  # of a curve
_LINEAR = 100  # the largest N_k up to which its axis is linear


def plot_scores(pairs: HardPairs, *, sample: int = 20_000, seed: int = 0) -> Any:
    """Distribution of scores and, of a table that knows its store, of both cosine similarities.

    Left: the share of hard pairs by similarity, with a bin for each 60th of the range. Right: the
    score at each rank of the pools, median with the middle 50 % and 90 % of the targets. At most
    ``sample`` targets are read, drawn at random with ``seed``; the plot says how many. Returns a
    ``matplotlib.figure.Figure``.

    Raises InvalidArgumentError where no target has a hard pair, UnsupportedError for a part of a
    table and without matplotlib.
    """
    check("sample", sample, Positive)
    check("seed", seed, Seed)
    pairs = pairs._whole()
    rows = sampled_targets(pairs, sample, seed)
    if not len(rows):
        raise InvalidArgumentError("the table has no hard pair, so that there is nothing to plot")
    ids = np.asarray(pairs.ids[rows]).astype(np.int64)
    scores = np.where(ids >= 0, np.asarray(pairs.scores[rows]), np.nan)
    # Of other modalities and of joined tables a score is no product.
    product = pairs.options.get("modality") == "both"
    kinds = {"product (score)" if product else "score": (scores, ORANGE)}
    if pairs.store is not None:
        image, text = _cosines(pairs, rows, ids)
        kinds = {"image": (image, BLUE), "text": (text, GREEN), **kinds}
    figure, (left, right) = new_figure(11, 4.4, 2)
    _draw_shares(left, kinds, "product of both" if product else "score")
    _draw_ranks(right, scores, "score (product)" if product else "score")
    known = int((np.asarray(pairs.counts) > 0).sum())
    note(figure, f"{sample_words(len(rows), known)}; pools of at most {pairs.k}")
    return figure


def _cosines(pairs: HardPairs, rows: Any, ids: Any) -> tuple[Any, Any]:
    """Of each target with its pool, runs of neighbouring targets together."""
    assert pairs.store is not None
    cosines = TableCosines(pairs.store)
    image, text = (np.full(ids.shape, np.nan, dtype=np.float32) for _ in range(2))
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
        image[start:stop], text[start:stop] = cosines.of(int(rows[start]), ids[start:stop])
    return image, text


def _draw_shares(axes: Any, kinds: dict[str, tuple[Any, str]], score: str) -> None:
    values = {name: found[np.isfinite(found)] for name, (found, _) in kinds.items()}
    low = min(float(found.min(initial=1.0)) for found in values.values())
    edges = np.linspace(min(np.floor(low * 10) / 10, 0.9), 1.0, _BINS + 1)
    for name, found in values.items():
        counts = np.histogram(np.clip(found, edges[0], 1.0), edges)[0]
        colour, median = kinds[name][1], np.median(found) if len(found) else np.nan
        axes.stairs(
            100 * counts / max(len(found), 1), edges, color=colour, fill=True, alpha=0.14,
        )  # fmt: skip
        axes.stairs(
            100 * counts / max(len(found), 1), edges, color=colour, linewidth=1.8,
            label=f"{name}, median {median:.2f}",
        )  # fmt: skip
    axes.set_xlim(edges[0], 1.0)
    axes.set_ylim(bottom=0)
    label(axes, "How alike hard pairs are", f"cosine similarity, or {score}", "hard pairs, %")
    legend(axes)


def _draw_ranks(axes: Any, scores: Any, name: str) -> None:
    there = np.isfinite(scores).any(axis=0)
    ranks = np.arange(1, scores.shape[1] + 1)[there]
    low, lower, median, upper, high = np.nanpercentile(
        scores[:, there], (5, 25, 50, 75, 95), axis=0
    )
    axes.fill_between(ranks, low, high, color=ORANGE, alpha=0.13, linewidth=0, label="middle 90 %")
    axes.fill_between(
        ranks, lower, upper, color=ORANGE, alpha=0.28, linewidth=0, label="middle 50 %"
    )
    axes.plot(ranks, median, color=ORANGE, linewidth=2, label="median of the targets")
    axes.set_xlim(1, max(int(ranks[-1]), 2))
    axes.locator_params(axis="x", integer=True)
    axes.set_ylim(bottom=min(0.0, float(low.min())))
    label(axes, "Score by rank", "rank in the pool, 1 is the hardest", name)
    legend(axes)


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
