"""Recall against the time that it takes, of points that a benchmark or a program measured."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.common.files import reading_file
from helip.common.options import require
from helip.reporting.plots.style import CYCLE, MARKERS, label, legend, new_figure, note

Points = Mapping[str, Sequence[Mapping[str, Any]]]


def read_recall(path: str | os.PathLike[str]) -> dict[str, list[dict[str, Any]]]:
    """Points of a JSON file: ``{name: [{"recall": …, "seconds": …}, …]}``, or what
    ``bench/scale.py`` writes, whose sides are then named with their number of rows.

    Raises InvalidArgumentError for other JSON, StorageError for a file that cannot be read.
    """
    with reading_file(path):
        text = Path(path).read_text(encoding="utf-8")
    try:
        found = json.loads(text)
        if isinstance(found, dict) and "cells" in found:
            found = {
                f"{side}, {cell['rows']:,} rows": points["points"]
                for cell in found["cells"]
                for side, points in cell["sides"].items()
                if points["points"]
            }
        return {str(name): [_point(each) for each in points] for name, points in found.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidArgumentError(
            f"{path} must hold JSON such as "
            '{"partition": [{"recall": 0.95, "seconds": 10.0}]}, or be of bench/scale.py '
            f"({type(error).__name__}: {error})"
        ) from error


def plot_recall(points: Points) -> Any:
    """Recall against seconds, a line a name; up and to the left is better.

    Each point is a mapping with ``recall`` in 0 .. 1 and ``seconds`` above 0 and, if measured,
    ``low`` and ``high``, the interval of the recall. Returns a ``matplotlib.figure.Figure``.

    Raises InvalidArgumentError without points or for one out of its bounds, UnsupportedError
    without matplotlib.
    """
    require(isinstance(points, Mapping), "points", points, "a mapping: name -> recall, seconds")
    lines = {name: [_point(each) for each in found] for name, found in points.items() if found}
    if not lines:
        raise InvalidArgumentError("points is empty, must hold a point: name -> recall, seconds")
    figure, (axes,) = new_figure(7.5, 4.8)
    for place, (name, found) in enumerate(lines.items()):
        found.sort(key=lambda each: each["seconds"])
        seconds, recall = (
            np.array([each[what] for each in found]) for what in ("seconds", "recall")
        )
        spread = [
            [abs(each["recall"] - each.get(end, each["recall"])) for each in found]
            for end in ("low", "high")
        ]
        axes.errorbar(
            seconds, 100 * recall, yerr=100 * np.array(spread), label=name, capsize=3,
            color=CYCLE[place % len(CYCLE)], marker=MARKERS[place % len(MARKERS)],
            markersize=5.5, linewidth=1.8,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axes.tick_params(which="minor", labelsize=8)
    label(axes, "Recall against time", "seconds", "recall of the exact pools, %")
    legend(axes)
    intervals = any("low" in each for found in lines.values() for each in found)
    bars = "; bars are the measured intervals of the recall" if intervals else ""
    note(figure, f"{sum(map(len, lines.values()))} measured points{bars}")
    return figure


def _point(given: Any) -> dict[str, float]:
    try:
        point = {
            name: float(given[name])
            for name in ("recall", "seconds", "low", "high")
            if name in ("recall", "seconds") or given.get(name) is not None
        }
        if "low" not in point and given.get("recall_limits") is not None:
            point["low"], point["high"] = map(float, given["recall_limits"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidArgumentError(
            f"a point is {given!r:.100}, must be a mapping of numbers with recall and seconds, "
            'such as {"recall": 0.95, "seconds": 10.0}'
        ) from error
    if not (0 <= point["recall"] <= 1 and 0 < point["seconds"] < np.inf):
        raise InvalidArgumentError(
            f"a point has recall {point['recall']} and {point['seconds']} seconds, must have "
            "recall in 0 .. 1 and seconds above 0"
        )
    return point
