"""Paired differences to the baseline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import helip
from helip.evaluation.statistics.intervals import rank_outcomes
from helip.reporting import plot_gains
from support.plot_samples import words_of

pytest.importorskip("matplotlib")


def result(better: float) -> dict[str, Any]:
    """Of retrieval with 300 queries, as evaluate() gives it, a share of them found first."""
    ranks = np.where(np.arange(300) < 300 * better, 1, 7)
    figures = rank_outcomes(ranks).figures(bootstrap=50, seed=0)
    kept = {"ranks": ranks.tolist(), "groups": None}
    ways = ("image_to_text", "text_to_image")
    return {
        "rows": 300,
        "retrieval": {
            **dict.fromkeys(ways, figures),
            "rows": 300,
            "queries": "q",
            "duplicates": "strict",
            "ties": "against",
            "per_query": dict.fromkeys(ways, kept),
        },
    }


def test_differences_are_tuned_minus_control() -> None:
    results = {"tuned": result(0.6), "control": result(0.5)}
    figure = plot_gains(results)
    told = words_of(figure)
    assert "Gain over control" in told and "retrieval · text to image · recall@1" in told
    points = [c.lines[0].get_xydata()[0] for c in figure.axes[0].containers]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    gains = {names[round(y)]: x for x, y in points}
    assert gains["retrieval · text to image · recall@1"] == pytest.approx(10)
    assert gains["retrieval · text to image · recall@10"] == pytest.approx(0)


def test_sets_of_different_baselines_are_refused() -> None:
    a, b = result(0.6), result(0.5)
    sets = {"coco": {"control": b, "tuned": a}, "flickr": {"start": b, "tuned": a}}
    words = (
        "the baselines differ: 'control' of 'coco', 'start' of 'flickr'; give every set the same"
    )
    with pytest.raises(helip.InvalidArgumentError, match=words):
        plot_gains(sets)
    sets["flickr"]["control"] = b
    assert "Gain over control" in words_of(plot_gains(sets))


def test_one_result_is_refused() -> None:
    with pytest.raises(helip.InvalidArgumentError, match="must hold two"):
        plot_gains({"control": result(0.5)})
