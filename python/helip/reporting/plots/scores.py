"""How alike hard pairs are: similarity of images, of texts, their product, and by rank."""

from __future__ import annotations

from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.common.options import Positive, Seed, check
from helip.pairs.cosines import TableCosines
from helip.pairs.hard_pairs import HardPairs
from helip.reporting.plots.style import (
    BLUE,
    GREEN,
    ORANGE,
    label,
    legend,
    new_figure,
    note,
    sample_words,
    sampled_targets,
)

_BINS = 60


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
