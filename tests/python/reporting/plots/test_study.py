"""The plot of a study's results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helip.common.errors import InvalidArgumentError
from helip.reporting import plot_study
from support.plot_samples import words_of

pytest.importorskip("matplotlib")


def rate(value: float | None, half: float = 0.1) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - half, value + half)
    return {"value": value, "low": low, "high": high, "n": 9}


RESULTS = {
    "study": {"cards": 200},
    "people": {"Ann": 200},
    "caption": {"product": rate(0.3), "random": rate(0.5)},
    "pairs": [
        {"kinds": ["product", "random"], **rate(0.8)},
        {"kinds": ["product", "text"], **rate(0.55)},
    ],
}


def test_rates_stand_at_their_values_with_their_intervals() -> None:
    figure = plot_study(RESULTS)
    left, right = figure.axes
    points = [line.get_xdata()[0] for line in right.get_lines() if line.get_marker() == "o"]
    assert points == [0.8, 0.55]
    ends = [bar.get_segments()[0][:, 0] for bar in left.collections]
    np.testing.assert_allclose(ends, [[0.2, 0.4], [0.4, 0.6]])
    assert [tick.get_text() for tick in right.get_yticklabels()] == [
        "HPM against random", "HPM against text only",
    ]  # fmt: skip
    assert "200 questions, 1 person or rule" in words_of(figure)


def test_an_interval_that_holds_a_half_is_hollow_among_comparisons_alone() -> None:
    left, right = plot_study(RESULTS).axes
    for axes, hollow in ((left, [False, False]), (right, [False, True])):
        marks = [line for line in axes.get_lines() if line.get_marker() == "o"]
        assert [mark.get_markerfacecolor() == "white" for mark in marks] == hollow


def test_what_nobody_answered_is_named() -> None:
    told = words_of(plot_study({**RESULTS, "caption": {"product": rate(None)}}))
    assert "no answer" in told
    with pytest.raises(InvalidArgumentError, match="the study has 0 answers"):
        plot_study({**RESULTS, "people": {}})
