"""What training gained: paired differences of evaluations, with their intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.evaluation.figures import is_result
from helip.evaluation.statistics.comparison import compare
from helip.reporting.plots.style import CYCLE, GREY, MARKERS, label, legend, new_figure, note

_SHOWN = ("recall@1", "recall@5", "recall@10", "top1", "top5", "mean_per_class", "text_score",
          "image_score", "group_score")  # fmt: skip


def plot_gains(metrics: Mapping[str, Any]) -> Any:
    """Difference of each model to the baseline, figure by figure, in points with 95 % intervals.

    ``metrics``: name → result of `helip.evaluate` with ``keep_ranks=True``, or set → name → result,
    as `helip.evaluate_all` gives them. The baseline is the result named "control", else the first.
    An interval that holds 0 is drawn hollow. Returns a ``matplotlib.figure.Figure``.

    Raises InvalidArgumentError for fewer than two results, results without a shared figure, or sets
    of different baselines, UnsupportedError without matplotlib.
    """
    sets = {"": metrics} if all(is_result(each) for each in metrics.values()) else metrics
    rows: list[tuple[str, str, Mapping[str, float]]] = []
    baselines: dict[str, str] = {}  # to the first set that has it
    for title, results in sets.items():
        names = list(results)
        if len(names) < 2:
            raise InvalidArgumentError(
                f"metrics holds {len(names)} results, must hold two: a baseline and another"
            )
        baseline = next((name for name in names if name.lower() == "control"), names[0])
        baselines.setdefault(baseline, title)
        for name in names:
            if name != baseline:
                found = compare(results[name], results[baseline])
                told = [(path, figure) for path, figure in _figures(found)]
                rows += [
                    (" · ".join(filter(None, (title, *path))).replace("_", " "), name, figure)
                    for path, figure in told
                ]
    if len(baselines) > 1:
        differ = ", ".join(f"{name!r} of {title!r}" for name, title in baselines.items())
        raise InvalidArgumentError(
            f"the baselines differ: {differ}; give every set the same baseline, named control or "
            "put first"
        )
    (baseline,) = baselines or ("",)
    if not rows:
        raise InvalidArgumentError("the results have no figure in common, must share a task")
    figures = list(dict.fromkeys(row for row, _, _ in rows))
    models = list(dict.fromkeys(name for _, name, _ in rows))
    figure, (axes,) = new_figure(8.5, 1.7 + 0.32 * len(figures) + 0.12 * len(rows))
    for place, name in enumerate(models):
        _draw_model(
            axes, place, len(models), name, [row for row in rows if row[1] == name], figures
        )
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(figures)), figures)
    axes.set_ylim(len(figures) - 0.4, -0.6)
    label(axes, f"Gain over {baseline}", f"difference to {baseline}, points (95 % interval)", "")
    legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.12 - 0.5 / len(figures)), ncols=3)
    queries = sorted({int(found["n"]) for _, _, found in rows})
    counts = f"{queries[0]:,}" if len(queries) == 1 else f"{queries[0]:,} to {queries[-1]:,}"
    note(figure, f"paired over {counts} queries; hollow: the interval holds 0")
    return figure


def _draw_model(
    axes: Any, place: int, models: int, name: str, rows: list[Any], figures: list[str]
) -> None:
    colour, marker = CYCLE[place % len(CYCLE)], MARKERS[place % len(MARKERS)]
    shift = 0.3 * (place - (models - 1) / 2)
    for number, (told, _, found) in enumerate(rows):
        low, value, high = (100 * found[key] for key in ("low", "value", "high"))
        y = figures.index(told) + shift
        axes.errorbar(
            value, y, xerr=np.array([[value - low], [high - value]]), color=colour, marker=marker,
            markersize=6, markerfacecolor="white" if low <= 0 <= high else colour, capsize=3,
            linewidth=1.6, label=name if number == 0 else None,
        )  # fmt: skip


def _figures(
    found: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, float]]]:
    """Differences at the leaves of what `compare` gives, of the figures that are shares."""
    for name, value in found.items():
        if not isinstance(value, Mapping):
            continue
        if {"value", "low", "high", "n"} <= value.keys():
            if name in _SHOWN:
                yield (*path, name), value
        else:
            yield from _figures(value, (*path, name))
