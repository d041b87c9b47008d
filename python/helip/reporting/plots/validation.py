"""What runs learn step by step: figures of their validations, beside a control's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError
from helip.common.options import require
from helip.reporting.plots.style import CYCLE, GREY, MARKERS, label, legend, new_figure, note

Rows = Sequence[Mapping[str, Any]]

_PANELS = 2


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
    control = next((name for name in measured if name.lower() == "control"), None)
    figure, panels = new_figure(5.6 * len(wanted), 4.6, columns=len(wanted))
    for axes, name in zip(panels, wanted, strict=True):
        _draw(axes, name, measured, control)
    counts = [len(rows) for rows in measured.values()]
    note(figure, f"{sum(counts)} validations of {len(counts)} runs; each line is one run")
    return figure


def _draw(
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
        told = name if place is None or level is None else f"{name}{_reached(points, level)}"
        axes.plot(*points.T, color=colour, marker=marker, markersize=5, linewidth=1.8, label=told)
    label(axes, figure.replace(".", " · ").replace("_", " "), "step", "value")
    legend(axes)


def _reached(points: np.ndarray, level: float) -> str:
    """Of a line [n, 2], when it is first at the control's last value."""
    at = points[points[:, 1] >= level]
    return f": control's last value at step {int(at[0, 0]):,}" if len(at) else ""


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
