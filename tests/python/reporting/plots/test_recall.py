"""Recall against time, of points in memory and in files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import helip
from helip.reporting import plot_recall, read_recall
from support.plot_samples import words_of

pytest.importorskip("matplotlib")


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
