"""The words for an expected gain, and what moves the score."""

from __future__ import annotations

from dataclasses import replace

import pytest

from helip.diagnosis.features import Estimate, FeatureMeasures
from helip.diagnosis.gain import HELD, LARGE, LEARNED, SOME, expected_gain

ACCURACIES = {"between": 0.9, "mapped": 0.8, "among": 0.7, "within": 0.6, "violated": 0.1}


def measures(**changes: float) -> FeatureMeasures:
    """Of a model that has something to learn from hard pairs."""
    accuracies = {
        name: Estimate(changes.pop(name, value), 0.02, 400) for name, value in ACCURACIES.items()
    }
    made = FeatureMeasures(
        rows=100_000, batch_size=256, window=50, window_members=50.0, by_chance=0.13,
        none_by_chance=0.88, coverage=1.0, ranks=(),
        left_out=0, random_loss=0.3, community_loss=0.9, **accuracies,
    )  # fmt: skip
    return replace(made, **changes)


def test_the_score_is_the_product_that_is_documented() -> None:
    gain = expected_gain(measures())
    assert gain is not None
    assert gain.score == pytest.approx(0.88**1.5 * (1 + 0.9 - 0.6))
    assert gain.word == "large"
    assert "90%" in gain.why and "0.13" in gain.why and "60% among hard pairs" in gain.why


def test_what_a_linear_map_finds_is_known_where_it_is_more() -> None:
    gain = expected_gain(measures(between=0.01, mapped=0.3))
    assert gain is not None
    assert gain.score == pytest.approx(0.88**1.5 * (1 + 0.3 - 0.6))
    assert gain.word == "large" and "30% after a linear map" in gain.why


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"between": 0.4, "mapped": 0.1}, {"between": 0.8, "mapped": 0.1}),
        ({"between": 0.1, "mapped": 0.4}, {"between": 0.1, "mapped": 0.8}),
        ({"none_by_chance": 0.3}, {"none_by_chance": 0.9}),
        ({"within": 0.8}, {"within": 0.5}),
        ({"coverage": 0.5}, {"coverage": 0.6}),
    ],
)
def test_each_measure_moves_the_score_its_way(
    less: dict[str, float], more: dict[str, float]
) -> None:
    few, much = expected_gain(measures(**less)), expected_gain(measures(**more))
    assert few is not None and much is not None
    assert few.score < much.score


def test_the_words_go_by_their_bounds() -> None:
    def word(**changes: float) -> str:
        gain = expected_gain(measures(**changes))
        assert gain is not None
        return gain.word

    def none(score: float) -> float:
        return (score / (1 + 0.9 - 0.6)) ** (2 / 3)

    assert word(none_by_chance=none(LARGE + 1e-6)) == "large"
    assert word(none_by_chance=none(LARGE - 1e-6)) == "some"
    assert word(none_by_chance=none(SOME + 1e-6)) == "some"
    assert word(none_by_chance=none(SOME - 1e-6)) == "none"
    assert word(by_chance=HELD) == "none"
    few = {"between": LEARNED - 1e-6, "mapped": LEARNED - 1e-6}
    assert word(**few) == word(**few, by_chance=3.0) == "harm likely"


def test_without_an_accuracy_there_is_no_judgement() -> None:
    nothing = Estimate(None, None, 0)
    assert expected_gain(replace(measures(), within=nothing)) is None
    assert expected_gain(replace(measures(), between=nothing)) is None


def test_without_a_linear_map_it_is_judged_as_it_is() -> None:
    gain = expected_gain(replace(measures(), mapped=Estimate(None, None, 0)))
    assert gain is not None
    assert gain.score == pytest.approx(0.88**1.5 * (1 + 0.9 - 0.6))
