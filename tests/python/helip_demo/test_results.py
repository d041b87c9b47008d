"""What the demo counts and prints; the whole way is `make demo` itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from helip.pairs.hard_pairs import HardPairs
from helip_demo import results


def table(ids: list[list[int]], scores: list[list[float]]) -> HardPairs:
    return HardPairs.from_arrays(np.array(ids, dtype=np.int32), np.array(scores, dtype=np.float32))


EXACT = table([[1, 2], [0, 2], [0, -1], [-1, -1]], [[0.9, 0.5], [0.9, 0.4], [0.5, 0.0], [0.0, 0.0]])


def test_recall_is_the_mean_share_of_the_exact_pools_that_was_found() -> None:
    other = table(
        [[1, 3], [0, 2], [3, -1], [-1, -1]], [[0.9, 0.1], [0.9, 0.4], [0.1, 0.0], [0.0, 0.0]]
    )
    assert results.recall(EXACT, EXACT) == 1.0
    assert results.recall(other, EXACT) == pytest.approx((0.5 + 1.0 + 0.0) / 3)


def test_recall_takes_any_of_the_pairs_that_tie_for_the_last_place() -> None:
    other = table(
        [[1, 3], [0, 2], [0, -1], [-1, -1]], [[0.9, 0.5], [0.9, 0.4], [0.5, 0.0], [0.0, 0.0]]
    )
    assert results.recall(other, EXACT) == 1.0


def test_same_concept_is_a_share_of_the_hard_pairs_that_exist() -> None:
    concepts = np.array(["student", "student", "cook", "cook"])
    assert results.same_concept(EXACT, concepts, first=1) == pytest.approx(2 / 3)
    assert results.same_concept(EXACT, concepts, first=2) == pytest.approx(2 / 5)


def row(low: float, high: float, figure: str = "text to image, recall@1") -> dict[str, Any]:
    return {
        "set": "Held-out variants",
        "figure": figure,
        "models": {
            name: {"value": value}
            for name, value in zip(results.MODELS, (0.4, 0.5, 0.55), strict=True)
        },
        "difference": {"low": low, "value": (low + high) / 2, "high": high},
    }


def test_a_figure_is_better_or_worse_where_its_interval_leaves_out_zero() -> None:
    rows = [row(0.01, 0.09), row(0.0, 0.1), row(-0.1, 0.1), row(-0.1, -0.01), row(0.001, 0.2)]
    assert results.verdict(rows) == {"figures": 5, "better": 2, "worse": 1, "undecided": 2}


def test_the_head_of_the_page_has_recall_at_1_of_all_models_and_the_difference() -> None:
    rows = [row(0.01, 0.09), row(0.01, 0.09, "text to image, recall@5")]
    assert results.at_a_glance(rows, results.verdict(rows)) == {
        "held-out variants, text to image, recall@1": "start 40.0, control 50.0, communities 55.0: "
        "+5.0 [+1.0, +9.0]",
        "of all figures": "Communities are better than the control in 2 of 2 figures "
        "(recall@1 and @5, zero-shot), worse in 0, undecided in 0.",
    }


def test_the_printed_table_shows_every_model_and_the_paired_difference() -> None:
    def figure(value: float, low: float, high: float) -> dict[str, Any]:
        return {"value": value, "low": low, "high": high, "n": 285}

    summary = {
        "results": [
            {
                "set": "Held-out variants",
                "figure": "image to text, recall@1",
                "queries": 285,
                "models": {name: figure(0.5, 0.4, 0.6) for name in results.MODELS},
                "difference": figure(-0.012, -0.03, 0.004),
            }
        ],
        "verdict": {"figures": 12, "better": 3, "worse": 1, "undecided": 8},
        "mining": {"recall": {"k": 50, "sample": 0.51, "sample expected": 0.5, "hnsw": 0.99}},
        "seconds": {"data": 11.4, "total": 500.0},
        "report": "demo-out/report.html",
    }
    text = results.format_summary(summary)
    assert "Held-out variants (285 pictures)" in text
    assert " 50.0         50.0         50.0   -1.2 [-3.0, +0.4]" in text
    assert "better than the control in 3 of 12 figures" in text
    assert "worse in 1, undecided in 8" in text
    assert "hnsw 0.990" in text
    assert "data 11, total 500" in text
    assert "demo-out/report.html" in text
