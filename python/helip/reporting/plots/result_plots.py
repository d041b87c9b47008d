"""What was measured: gains over a baseline, answers of a study, validations and curves of runs, and
recall against the time that it takes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.common.files import read_text
from helip.common.options import require
from helip.evaluation.figures import baseline_of, control_of, figures_of, is_result
from helip.evaluation.statistics.comparison import compare
from helip.reporting.charts import curve_points
from helip.reporting.plots.style import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PURPLE,
    label,
    legend,
    new_figure,
    note,
)

Points = Mapping[str, Sequence[Mapping[str, Any]]]
Rows = Sequence[Mapping[str, Any]]

_GAINS = ("recall@1", "recall@5", "recall@10", "top1", "top5", "mean_per_class", "text_score",
          "image_score", "group_score")  # fmt: skip
_PANELS = 2
#: Titles of panels, and the quantities of training that are drawn in each.
CURVES: dict[str, tuple[str, ...]] = {
    "CLIP loss": ("clip",),
    "Margin loss": ("margin",),
    "Share of violated margins": ("violated",),
    "Similarity to hard and ordinary rows": ("hard_similarity", "ordinary_similarity"),
    "Temperature": ("temperature",),
    "Data wait, seconds a line": ("data_wait_seconds",),
}
#: How kinds of pools are called, as the report of a table calls them.
NAMES = {"product": "HPM", "image": "image only", "text": "text only", "random": "random"}
_COLOURS = {"product": GREEN, "image": ORANGE, "text": PURPLE, "random": GREY}


def plot_gains(metrics: Mapping[str, Any]) -> Any:
    """Difference of each model to the baseline, figure by figure, in points with 95 % intervals.

    ``metrics``: name → result of `helip.evaluate` with ``keep_ranks=True``, or set → name → result,
    as `helip.evaluate_all` gives them. The baseline is the result named "control", else the first.
    An interval that holds 0 is drawn hollow. Returns a ``matplotlib.figure.Figure``.

    Raises InvalidArgumentError for fewer than two results, results without a shared figure, or sets
    of different baselines, UnsupportedError without matplotlib.
    """
    sets = {"": metrics} if all(is_result(each) for each in metrics.values()) else metrics
    rows: list[tuple[str, str, Mapping[str, Any]]] = []
    baselines: dict[str, str] = {}  # to the first set that has it
    for title, results in sets.items():
        if len(results) < 2:
            raise InvalidArgumentError(
                f"metrics holds {len(results)} results, must hold two: a baseline and another"
            )
        baseline = baseline_of(list(results))
        baselines.setdefault(baseline, title)
        rows += [
            (" · ".join(filter(None, (title, *line.path))).replace("_", " "), name, figure)
            for name in results
            if name != baseline
            for line, figure in figures_of(compare(results[name], results[baseline]))
            if line.path[-1] in _GAINS
        ]
    if len(baselines) > 1:
        differ = ", ".join(f"{name!r} of {title!r}" for name, title in baselines.items())
        raise InvalidArgumentError(
            f"the baselines differ: {differ}; give every set the same baseline, named control or "
            "put first"
        )
    if not rows:
        raise InvalidArgumentError("the results have no figure in common, must share a task")
    (baseline,) = baselines
    figures = list(dict.fromkeys(row for row, _, _ in rows))
    models = list(dict.fromkeys(name for _, name, _ in rows))
    figure, (axes,) = new_figure(8.5, 1.7 + 0.32 * len(figures) + 0.12 * len(rows))
    for place, name in enumerate(models):
        shift = 0.3 * (place - (len(models) - 1) / 2)
        own = [(told, found) for told, model, found in rows if model == name]
        for number, (told, found) in enumerate(own):
            points = {end: 100 * found[end] for end in ("low", "value", "high")}
            _draw_interval(
                axes, points, figures.index(told) + shift, CYCLE[place % len(CYCLE)],
                marker=MARKERS[place % len(MARKERS)], middle=0,
                label=name if number == 0 else None,
            )  # fmt: skip
    axes.axvline(0, color=GREY, linewidth=1)
    _name_rows(axes, figures)
    label(axes, f"Gain over {baseline}", f"difference to {baseline}, points (95 % interval)", "")
    legend(axes, loc="upper center", bbox_to_anchor=(0.5, -0.12 - 0.5 / len(figures)), ncols=3)
    queries = sorted({int(found["n"]) for _, _, found in rows})
    counts = f"{queries[0]:,}" if len(queries) == 1 else f"{queries[0]:,} to {queries[-1]:,}"
    note(figure, f"paired over {counts} queries; hollow: the interval holds 0")
    return figure


def _draw_interval(
    axes: Any,
    found: Mapping[str, Any],
    place: float,
    colour: str,
    *,
    marker: str = "o",
    middle: float | None,
    label: str | None = None,
) -> None:
    """A value with its interval, hollow where that holds ``middle``: nothing is told apart."""
    value = found["value"]
    low, high = (value if found[end] is None else found[end] for end in ("low", "high"))
    axes.errorbar(
        value, place, xerr=np.array([[max(value - low, 0)], [max(high - value, 0)]]), color=colour,
        marker=marker, markersize=6, capsize=3, linewidth=1.6, label=label,
        markerfacecolor="white" if middle is not None and low <= middle <= high else colour,
    )  # fmt: skip


def _name_rows(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def plot_study(results: Mapping[str, Any]) -> Any:
    """Rates of a study with 95 % intervals: captions that are also right, by kind of pool, and how
    often the first of two pools was said to be harder.

    ``results``: what `Study.results` gives. Returns a ``matplotlib.figure.Figure``.

    Raises InvalidArgumentError where nothing is answered, UnsupportedError without matplotlib.
    """
    if not results["people"]:
        raise InvalidArgumentError(
            "the study has 0 answers, must have one at least; ask it: helip view --study"
        )
    pairs, kinds = results["pairs"], list(results["caption"])
    figure, (left, right) = new_figure(10, 1.6 + 0.42 * max(len(pairs), len(kinds)), columns=2)
    _draw_rates(left, [(NAMES[k], results["caption"][k], _COLOURS[k]) for k in kinds], middle=None)
    label(left, "The caption of a hard pair is also right", "share of captions (95 % interval)", "")
    against = [" against ".join(NAMES[kind] for kind in each["kinds"]) for each in pairs]
    _draw_rates(
        right, [(a, each, BLUE) for a, each in zip(against, pairs, strict=True)], middle=0.5
    )
    right.axvline(0.5, color=GREY, linewidth=1)
    words = "share of comparisons that the first wins (95 % interval)"
    label(right, "Which pool is harder", words, "")
    people = len(results["people"])
    told = "1 person or rule" if people == 1 else f"{people:,} people or rules"
    note(figure, f"{results['study']['cards']:,} questions, {told}; hollow: the interval holds ½")
    return figure


def _draw_rates(
    axes: Any, rows: Sequence[tuple[str, Mapping[str, Any], str]], *, middle: float | None
) -> None:
    for place, (_, found, colour) in enumerate(rows):
        if found["value"] is None:
            axes.text(0.5, place, "no answer", ha="center", va="center", fontsize=9, color=GREY)
        else:
            _draw_interval(axes, found, place, colour, middle=middle)
    _name_rows(axes, [name for name, _, _ in rows])
    axes.set_xlim(-0.03, 1.03)


def plot_validation(runs: Mapping[str, Rows], figures: Sequence[str] | None = None) -> Any:
    """Figures of validations against steps, a line a run; where a run reaches the control's last.

    ``runs``: name → rows of a ``metrics.jsonl`` as `helip.training.read_metrics` gives them, of
    runs with ``validate``; the one named "control", if there is one, is drawn in grey, its last
    value as a level that the legend gives each run's first step at. ``figures`` names what is
    drawn, such as ``retrieval.image_to_text.recall@1``; None takes the first two that all runs
    have. Returns a ``matplotlib.figure.Figure``.

    Raises InvalidArgumentError without a validation, without a figure in common, or for a figure
    that is not there, UnsupportedError without matplotlib.
    """
    require(isinstance(runs, Mapping) and len(runs) > 0, "runs", runs, "a mapping: name -> rows")
    measured = {name: _validations(name, rows) for name, rows in runs.items()}
    first = next(iter(measured.values()))
    shared = [name for name in first[0] if name != "step"]
    shared = [name for name in shared if all(name in each[0] for each in measured.values())]
    if not shared:
        raise InvalidArgumentError("the validations of the runs have no figure in common")
    wanted = list(shared[:_PANELS] if figures is None else figures)
    for name in wanted:
        if name not in shared:
            raise InvalidArgumentError(
                f"figures names {name!r}, must be of those that all runs have: {', '.join(shared)}"
            )
    control = control_of(measured)
    figure, panels = new_figure(5.6 * len(wanted), 4.6, columns=len(wanted))
    for axes, name in zip(panels, wanted, strict=True):
        _draw_runs(axes, name, measured, control)
    counts = [len(rows) for rows in measured.values()]
    note(figure, f"{sum(counts)} validations of {len(counts)} runs; each line is one run")
    return figure


def _draw_runs(
    axes: Any, figure: str, runs: Mapping[str, list[dict[str, float]]], control: str | None
) -> None:
    lines = {name: np.array([[row["step"], row[figure]] for row in rows if figure in row])
             for name, rows in runs.items()}  # fmt: skip
    level = None if control is None else float(lines[control][-1, 1])
    if level is not None:
        axes.axhline(level, color=GREY, linewidth=1, linestyle=":")
    tuned = [name for name in runs if name != control]
    for name, points in lines.items():
        place = None if name == control else tuned.index(name)
        colour = GREY if place is None else CYCLE[place % len(CYCLE)]
        marker = "x" if place is None else MARKERS[place % len(MARKERS)]
        told = name
        if place is not None and level is not None and len(at := points[points[:, 1] >= level]):
            told += f": control's last value at step {int(at[0, 0]):,}"
        axes.plot(*points.T, color=colour, marker=marker, markersize=5, linewidth=1.8, label=told)
    label(axes, figure.replace(".", " · ").replace("_", " "), "step", "value")
    legend(axes)


def _validations(name: str, rows: Rows) -> list[dict[str, float]]:
    """The steps of a run that were measured, once each, with their figures."""
    try:
        found = {
            int(row["step"]): {
                figure: float(value)
                for figure, value in row.items()
                if isinstance(value, (int, float)) and not isinstance(value, bool)
            }
            for row in rows
            if row.get("event") == "validation"
        }
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise InvalidArgumentError(
            f"rows of run {name!r} must be those of a metrics.jsonl ({type(error).__name__})"
        ) from error
    if not found:
        raise InvalidArgumentError(
            f"run {name!r} has no validation; train with eval_every= and "
            "validate=, helip train with --eval-data"
        )
    return [found[step] for step in sorted(found)]


def plot_curves(runs: Mapping[str, Rows]) -> Any:
    """How runs went by step: losses, share of violated margins, similarities, temperature, data
    wait; a colour a run.

    ``runs``: name → rows of a ``metrics.jsonl`` as `helip.training.read_metrics` gives them. What a
    run does not have, or what is 0 throughout as in a control, is left out. Returns a
    ``matplotlib.figure.Figure``.

    Raises InvalidArgumentError without runs, UnsupportedError without matplotlib.
    """
    require(isinstance(runs, Mapping) and len(runs) > 0, "runs", runs, "a mapping: name -> rows")
    figure, panels = new_figure(12, 7, columns=3, rows=2)
    for axes, (title, columns) in zip(panels, CURVES.items(), strict=True):
        for place, (name, rows) in enumerate(runs.items()):
            for column, style in zip(columns, ("-", "--"), strict=False):
                points = curve_points(rows, column)
                told = name if len(columns) == 1 else f"{name} {column.split('_')[0]}"
                if points[:, 1].any():
                    colour = CYCLE[place % len(CYCLE)]
                    axes.plot(*points.T, style, color=colour, linewidth=1.4, label=told)
        label(axes, title, "step", "")
        if len(axes.lines) > 1:
            legend(axes)
    note(figure, f"{', '.join(runs)}; of long runs means over neighbouring lines")
    return figure


def read_recall(path: str | os.PathLike[str]) -> dict[str, list[dict[str, Any]]]:
    """Points of a JSON file: ``{name: [{"recall": …, "seconds": …}, …]}``, or what
    ``bench/scale.py`` writes, whose sides are then named with their number of rows.

    Raises InvalidArgumentError for other JSON, StorageError for a file that cannot be read.
    """
    text = read_text(Path(path))
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
        if not (0 <= point["recall"] <= 1 and 0 < point["seconds"] < np.inf):
            raise ValueError("out of its bounds")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidArgumentError(
            f"a point is {given!r:.100}, must be a mapping of numbers with recall in 0 .. 1 and "
            'seconds above 0, such as {"recall": 0.95, "seconds": 10.0}'
        ) from error
    return point
