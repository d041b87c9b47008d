"""Charts of a page: shapes for SVG, labels for HTML, so that text keeps its size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from helip.common.text import number
from helip.reporting.similarities import Scores

POINTS = 240  # of a curve; more are averaged
QUANTITIES = (
    *("loss", "clip", "margin", "violated", "hard_similarity", "ordinary_similarity"),
    *("temperature", "data_wait_seconds"),
)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart ``width`` wide and 100 high, y downward."""

    caption: str
    title: str
    x_label: str
    width: int
    x_ticks: Sequence[str]
    y_ticks: Sequence[str]
    legend: Sequence[tuple[str, str]]  # (kind, name)
    bars: Sequence[tuple[int, float]] = ()  # (x, y of the top)
    outline: str = ""
    lines: Sequence[tuple[str, str]] = ()  # (kind, points)


def histogram(scores: Scores) -> Chart:
    """Scores of all hard pairs as bars, and of the best pair of each target as an outline."""
    everything, first = _shares(scores.all_counts), _shares(scores.first_counts)
    top = max(everything.max(initial=0.0), first.max(initial=0.0)) or 1.0
    steps = " ".join(f"V{100 - 100 * share / top:.2f} H{i + 1}" for i, share in enumerate(first))
    return Chart(
        caption="Share of pairs by score",
        title="Distribution of scores of hard pairs",
        x_label="score = image similarity × text similarity",
        width=len(everything),
        x_ticks=[number(x) for x in np.linspace(scores.edges[0], scores.edges[-1], 6)],
        y_ticks=[f"{100 * top:.0f} %", "0"],
        legend=[
            ("bars", f"all {int(scores.all_counts.sum()):,} hard pairs"),
            ("outline", "best pair of each target"),
        ],
        bars=[(i, 100 - 100 * share / top) for i, share in enumerate(everything) if share],
        outline=f"M0 100 {steps} V100",
    )


def learning_curves(
    curves: Mapping[str, Sequence[Mapping[str, Any]]], runs: Sequence[str]
) -> list[Chart]:
    """A chart for each quantity of training; a run's place in ``runs`` is its colour."""
    charts = []
    for name in QUANTITIES:
        lines = {}
        for run, rows in curves.items():
            points = curve_points(rows, name)
            if len(points) > 1:
                lines[run, f"series{runs.index(run) % 5}"] = points
        if lines:
            charts.append(_curve(name, lines))
    return charts


def _curve(name: str, lines: Mapping[tuple[str, str], Any]) -> Chart:
    every = np.concatenate(list(lines.values()))
    low, high = _round_range(every[:, 1].min(), every[:, 1].max())
    first, last = every[:, 0].min(), max(every[:, 0].max(), every[:, 0].min() + 1)

    def path(points: Any) -> str:
        return " ".join(
            f"{1000 * (x - first) / (last - first):.1f},{100 - 100 * (y - low) / (high - low):.2f}"
            for x, y in points
        )

    return Chart(
        caption=name,
        title=f"{name} over training steps",
        x_label="step",
        width=1000,
        x_ticks=[f"{x:,.0f}" for x in np.linspace(first, last, 3)],
        y_ticks=[number(high), number((high + low) / 2), number(low)],
        legend=[(kind, run) for run, kind in lines],
        lines=[(kind, path(points)) for (_, kind), points in lines.items()],
    )


def _shares(counts: Any) -> Any:
    return counts / max(int(counts.sum()), 1)


def curve_points(rows: Sequence[Mapping[str, Any]], name: str) -> Any:
    """Steps and values of a quantity in rows of a metrics.jsonl, float64 [n, 2]; events are none.

    Of more than `POINTS` neighbours are averaged.
    """
    points = [
        (float(row["step"]), float(row[name]))
        for row in rows
        if "event" not in row
        and row.get("step") is not None
        and isinstance(row.get(name), (int, float))
    ]
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    if len(table) <= POINTS:
        return table
    return np.array([chunk.mean(axis=0) for chunk in np.array_split(table, POINTS)])


def _round_range(low: float, high: float) -> tuple[float, float]:
    """The range widened to a round step, so that the axis has readable ends."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9)))
    step = step / 2 if (high - low) / step < 3 else step
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return (low, high) if high > low else (low, low + step)
