"""Learning curves of training runs as one picture, drawn by matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, needed
from helip.common.files import storage_errors

# Charts by their titles, and the columns of the metrics that are drawn in each.
PANELS: dict[str, tuple[str, ...]] = {
    "CLIP loss": ("clip",),
    "margin loss": ("margin",),
    "share of violated margins": ("violated",),
    "similarity to hard and ordinary rows": ("hard_similarity", "ordinary_similarity"),
    "temperature": ("temperature",),
    "data wait, seconds a line": ("data_wait_seconds",),
}
_STYLES = ("-", "--")  # of the columns of a panel
_POINTS = 500  # of a line; more are averaged


def draw_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike[str]
) -> Path:
    """Draw runs, name -> rows of a ``metrics.jsonl``, into the PNG file ``path``.

    Columns that a run does not have, or that are 0 throughout as in a control, are left out.
    Raises UnsupportedError without matplotlib, InvalidArgumentError without runs.
    """
    if not runs:
        raise InvalidArgumentError("runs is empty, must hold a run at least: name -> rows")
    with needed("curves are drawn by matplotlib", "matplotlib"):
        from matplotlib.figure import Figure
    # A figure of its own: the state of pyplot belongs to the caller.
    figure = Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3).flat
    for axis, (title, columns) in zip(axes, PANELS.items(), strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        for number, (name, rows) in enumerate(runs.items()):
            for column, style in zip(columns, _STYLES, strict=False):
                steps, values = _points(rows, column)
                label = name if len(columns) == 1 else f"{name} {column.split('_')[0]}"
                if values.any():
                    axis.plot(steps, values, style, color=f"C{number % 10}", label=label, lw=1.2)
        if axis.lines and (len(runs) > 1 or len(columns) > 1):
            axis.legend(fontsize=8)
    path = Path(path)
    with storage_errors("write", path):
        figure.savefig(path, format="png", dpi=120, metadata={"Software": None})
    return path


def _points(rows: Sequence[Mapping[str, Any]], column: str) -> tuple[Any, Any]:
    found = [
        (float(row["step"]), float(row[column]))
        for row in rows
        if "event" not in row and isinstance(row.get(column), (int, float))
    ]
    table = np.array(found, dtype=np.float64).reshape(-1, 2)
    if len(table) > _POINTS:
        table = np.array([part.mean(axis=0) for part in np.array_split(table, _POINTS)])
    return table[:, 0], table[:, 1]
