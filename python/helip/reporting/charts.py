"""Charts of a page: plain SVG for shapes, HTML for labels, so that text keeps its size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helip.reporting.html import Html, join, markup
from helip.reporting.pools import Scores

POINTS = 240  # of a curve; more are averaged


def histogram(scores: Scores) -> Html:
    """Scores of all hard pairs as bars, and of the best pair of each target as an outline."""
    everything = _shares(scores.all_counts)
    first = _shares(scores.first_counts)
    top = max(everything.max(initial=0.0), first.max(initial=0.0)) or 1.0
    bins = len(everything)
    bars = "".join(
        f'<rect x="{i}" y="{100 - 100 * share / top:.2f}" width="0.92" '
        f'height="{100 * share / top:.2f}"/>'
        for i, share in enumerate(everything)
        if share
    )
    steps = " ".join(f"V{100 - 100 * share / top:.2f} H{i + 1}" for i, share in enumerate(first))
    shapes = (
        f'<g class="bars">{bars}</g><path class="outline" d="M0 100 {steps} V100" '
        'vector-effect="non-scaling-stroke"/>'
    )
    return _frame(
        Html(shapes),
        width=bins,
        x_ticks=[number(x) for x in np.linspace(scores.edges[0], scores.edges[-1], 6)],
        y_ticks=[f"{100 * top:.0f} %", "0"],
        x_label="score = image similarity × text similarity",
        title="Distribution of scores of hard pairs",
        legend=[
            ("bars", f"all {int(scores.all_counts.sum()):,} hard pairs"),
            ("outline", "best pair of each target"),
        ],
        caption="Share of pairs by score",
    )


def curves(
    name: str, runs: Mapping[str, Sequence[tuple[float, float]]], colours: Mapping[str, int]
) -> Html:
    """Lines of one quantity over steps, one a run; ``colours`` numbers the runs."""
    lines = {run: _thinned(points) for run, points in runs.items()}
    every = np.concatenate(list(lines.values()))
    low, high = _round_range(every[:, 1].min(), every[:, 1].max())
    first, last = every[:, 0].min(), max(every[:, 0].max(), every[:, 0].min() + 1)
    shapes = []
    for run, points in lines.items():
        path = " ".join(
            f"{1000 * (x - first) / (last - first):.1f},{100 - 100 * (y - low) / (high - low):.2f}"
            for x, y in points
        )
        shapes.append(
            f'<polyline class="line series{colours[run] % 5}" points="{path}" '
            'vector-effect="non-scaling-stroke"/>'
        )
    return _frame(
        Html("".join(shapes)),
        width=1000,
        x_ticks=[f"{x:,.0f}" for x in np.linspace(first, last, 3)],
        y_ticks=[number(high), number((high + low) / 2), number(low)],
        x_label="step",
        title=f"{name} over training steps",
        legend=[(f"series{colours[run] % 5}", run) for run in lines],
        caption=name,
    )


def interval_plot(figures: Sequence[Mapping[str, Any]], low: float, high: float) -> Html:
    """A row of a table as dots with whiskers, one a result, all on the axis ``low`` … ``high``."""
    span = (high - low) or 1.0

    def at(value: float) -> str:
        return f"{100 * (value - low) / span:.2f}"

    shapes = []
    for place, figure in enumerate(figures):
        y = 12 * place + 6
        if figure.get("low") is not None:
            shapes.append(
                f'<path class="whisker series{place % 5}" vector-effect="non-scaling-stroke" '
                f'd="M{at(figure["low"])} {y}H{at(figure["high"])}"/>'
            )
        shapes.append(
            f'<path class="dot series{place % 5}" vector-effect="non-scaling-stroke" '
            f'd="M{at(figure["value"])} {y}h0.001"/>'
        )
    return markup(
        '<svg class="intervals" viewBox="0 0 100 {height}" preserveAspectRatio="none" '
        'aria-hidden="true" focusable="false">{shapes}</svg>',
        height=12 * len(figures),
        shapes=Html("".join(shapes)),
    )


def number(value: Any) -> str:
    """Three significant digits, thousands separated, no trailing noise."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 1e-3:
        return f"{value:.2g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _frame(
    shapes: Html,
    *,
    width: int,
    x_ticks: Sequence[str],
    y_ticks: Sequence[str],
    x_label: str,
    title: str,
    legend: Sequence[tuple[str, str]],
    caption: str,
) -> Html:
    def spans(values: Sequence[str]) -> Html:
        return join((markup("<span>{value}</span>", value=value) for value in values), "")

    keys = join(
        (
            markup('<li><i class="key {kind}"></i>{name}</li>', kind=kind, name=name)
            for kind, name in legend
        ),
        "",
    )
    return markup(
        '<figure class="chart"><figcaption>{caption}</figcaption><ul class="legend">{keys}</ul>'
        '<div class="plot"><div class="y" aria-hidden="true">{y}</div>'
        '<svg viewBox="0 0 {width} 100" preserveAspectRatio="none" role="img" '
        'aria-label="{title}">{shapes}</svg>'
        '<div class="x" aria-hidden="true">{x}</div></div>'
        '<p class="axis">{x_label}</p></figure>',
        caption=caption,
        keys=keys,
        y=spans(y_ticks),
        x=spans(x_ticks),
        width=width,
        title=title,
        shapes=shapes,
        x_label=x_label,
    )


def _shares(counts: Any) -> Any:
    return counts / max(int(counts.sum()), 1)


def _thinned(points: Sequence[tuple[float, float]]) -> Any:
    table = np.asarray(points, dtype=np.float64)
    if len(table) <= POINTS:
        return table
    return np.array([part.mean(axis=0) for part in np.array_split(table, POINTS)])


def _round_range(low: float, high: float) -> tuple[float, float]:
    """The range widened to a round step, so that the axis has readable ends."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9)))
    step = step / 2 if (high - low) / step < 3 else step
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return (low, high) if high > low else (low, low + step)
