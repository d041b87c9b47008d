"""Paired differences, answers of a study, validations and curves of runs, recall against time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip.evaluation.statistics.intervals import rank_outcomes
from helip.reporting import (
    plot_curves,
    plot_gains,
    plot_recall,
    plot_study,
    plot_validation,
    read_recall,
    save_figure,
)
from helip.reporting.charts import curve_points
from helip.reporting.plots.result_plots import CURVES
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
    with pytest.raises(helip.InvalidArgumentError, match="the study has 0 answers"):
        plot_study({**RESULTS, "people": {}})


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


@pytest.mark.parametrize("rows", [["x"], [{"event": "validation", "x": 1.0}], None])
def test_rows_that_are_of_no_run_are_refused(rows: Any) -> None:
    with pytest.raises(helip.InvalidArgumentError, match=r"rows of run 'a' must be .* metrics\.js"):
        plot_validation({"a": rows})


LOGGED = {"violated": 0.4, "hard_similarity": 0.5, "ordinary_similarity": 0.2, "temperature": 0.05,
          "data_wait_seconds": 0.01}  # fmt: skip
TUNED = [{"step": step, "clip": 5 / step, "margin": 1 / step, **LOGGED} for step in range(1, 30)]
CONTROL = [{"step": step, "clip": 4 / step, "margin": 0.0, "violated": 0.0} for step in range(1, 9)]


def test_curves_of_runs_are_one_picture_always_the_same(tmp_path: Path) -> None:
    figure = plot_curves({"HELIP": TUNED, "control": CONTROL})
    drawn = [[line.get_label() for line in axes.lines] for axes in figure.axes]
    alone = ["HELIP"]
    assert drawn == [
        ["HELIP", "control"], alone, alone, ["HELIP hard", "HELIP ordinary"], alone, alone,
    ]  # fmt: skip
    columns = {column for columns in CURVES.values() for column in columns}
    assert columns == set(TUNED[0]) - {"step"}
    figures = [figure, plot_curves({"HELIP": TUNED, "control": CONTROL})]
    saved = [save_figure(each, tmp_path / f"{n}.png") for n, each in enumerate(figures)]
    one, two = (path.read_bytes() for path in saved)
    assert one[:8] == b"\x89PNG\r\n\x1a\n" and one == two
    with pytest.raises(helip.InvalidArgumentError, match="runs is"):
        plot_curves({})


def test_events_and_missing_numbers_are_no_points_and_long_runs_are_averaged() -> None:
    rows = [
        {"step": 1, "clip": 2.0},
        {"step": 1, "event": "warning", "clip": 9.0},
        {"step": 2, "clip": None},
        {"step": 3, "clip": 4.0},
    ]
    assert curve_points(rows, "clip").tolist() == [[1, 2], [3, 4]]
    points = curve_points([{"step": s, "clip": float(s)} for s in range(2400)], "clip")
    assert len(points) == 240 and points[0].tolist() == [4.5, 4.5]


def test_points_are_drawn_by_time_with_their_intervals() -> None:
    points = {
        "partition": [
            {"recall": 0.99, "seconds": 14, "low": 0.98, "high": 0.995},
            {"recall": 0.9, "seconds": 4, "low": 0.89, "high": 0.91},
        ],
        "hnsw": [{"recall": 0.95, "seconds": 9}],
    }
    figure = plot_recall(points)
    line = figure.axes[0].containers[0].lines[0]
    np.testing.assert_allclose(line.get_xydata(), [[4, 90], [14, 99]])
    told = words_of(figure)
    assert {"partition", "hnsw", "seconds"} <= set(told.split("\n"))
    assert "bars are the measured intervals" in told
    assert "bars" not in words_of(plot_recall({"hnsw": points["hnsw"]}))


def test_a_file_of_the_benchmark_is_read(tmp_path: Path) -> None:
    cell = {
        "rows": 200_000,
        "sides": {
            "helip-hnsw": {"points": [{"recall": 0.9, "seconds": 2.0, "recall_limits": [0.8, 1]}]},
            "faiss-ivf": {"points": []},
        },
    }
    (tmp_path / "scale.json").write_text(json.dumps({"threads": 2, "cells": [cell]}))
    assert read_recall(tmp_path / "scale.json") == {
        "helip-hnsw, 200,000 rows": [{"recall": 0.9, "seconds": 2.0, "low": 0.8, "high": 1.0}]
    }


@pytest.mark.parametrize("text", ["[1]", "{", '{"a": 3}', '{"a": [{"recall": 1}]}'])
def test_other_json_is_refused_with_an_example(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(helip.InvalidArgumentError, match="must hold JSON such as"):
        read_recall(tmp_path / "other.json")


def test_points_out_of_their_bounds_are_refused() -> None:
    with pytest.raises(helip.InvalidArgumentError, match=r"recall in 0 \.\. 1"):
        plot_recall({"a": [{"recall": 95, "seconds": 1}]})
    for point in ({"recall": 0.5}, {"seconds": 1}, [0.5, 1], {"recall": "x", "seconds": 1}):
        with pytest.raises(helip.InvalidArgumentError, match="must be a mapping of numbers with"):
            plot_recall({"a": [point]})
    with pytest.raises(helip.InvalidArgumentError, match=r"points is .*, must be a mapping"):
        plot_recall([{"recall": 0.5, "seconds": 1}])
    with pytest.raises(helip.InvalidArgumentError, match="points is empty"):
        plot_recall({"a": []})
