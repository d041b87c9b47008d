"""Figures of validations against steps, of the rows of metrics.jsonl."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import helip
from helip.reporting import plot_validation
from support.plot_samples import words_of

pytest.importorskip("matplotlib")


def rows(recalls: list[float], **more: float) -> list[dict[str, Any]]:
    """Of a run that was measured each 10 steps, as training writes them."""
    found: list[dict[str, Any]] = [{"step": 1, "loss": 3.0}]
    for number, value in enumerate(recalls, start=1):
        figures = {"retrieval.recall@1": value, "retrieval.recall@5": value, **more}
        found.append({"step": 10 * number, "event": "validation", **figures})
    return [*found, {"step": 30, "event": "guard", "message": "x"}]


def test_a_line_a_run_and_where_it_reaches_the_control() -> None:
    runs = {"control": rows([0.1, 0.2, 0.3]), "tuned": rows([0.2, 0.35, 0.5]), "poor": rows([0.1])}
    figure = plot_validation(runs)
    assert len(figure.axes) == 2
    lines = {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(lines["control"], [[10, 0.1], [20, 0.2], [30, 0.3]])
    np.testing.assert_allclose(
        lines["tuned: control's last value at step 20"], [[10, 0.2], [20, 0.35], [30, 0.5]]
    )
    assert "poor" in lines  # which never does
    assert "7 validations of 3 runs" in words_of(figure)


def test_figures_are_those_that_all_runs_have() -> None:
    runs = {"a": rows([0.1], extra=1.0), "b": rows([0.2])}
    (axes,) = plot_validation(runs, ["retrieval.recall@5"]).axes
    assert axes.get_title(loc="left") == "retrieval · recall@5"
    with pytest.raises(helip.InvalidArgumentError, match=r"names 'extra'.*retrieval\.recall@1, "):
        plot_validation(runs, ["extra"])
    other = [{"step": 1, "event": "validation", "accuracy": 0.1}]
    with pytest.raises(helip.InvalidArgumentError, match="no figure in common"):
        plot_validation({"a": rows([0.1]), "b": other})


def test_a_step_that_was_measured_again_counts_once() -> None:
    again = {"step": 20, "event": "validation", "retrieval.recall@1": 0.4}
    twice = [*rows([0.1, 0.2]), again]
    lines = plot_validation({"a": twice}).axes[0].lines
    np.testing.assert_allclose(lines[0].get_xydata(), [[10, 0.1], [20, 0.4]])


def test_runs_without_a_validation_are_refused() -> None:
    with pytest.raises(helip.InvalidArgumentError, match="run 'a' has no validation; train with"):
        plot_validation({"a": [{"step": 1, "loss": 2.0}]})
    with pytest.raises(helip.InvalidArgumentError, match="runs is"):
        plot_validation({})
    with pytest.raises(helip.InvalidArgumentError, match="rows of run 'a' must be those of"):
        plot_validation({"a": [{"event": "validation"}]})
