"""Rates against counts by hand, and their intervals."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from helip.common.proportions import wilson_interval
from helip_view.study_questions import Answer, Question
from helip_view.study_results import rate_of, results_of

QUESTIONS = {
    1: Question(1, "harder", 10, ((1,), (2,)), ("product", "random")),
    2: Question(2, "harder", 11, ((1,), (2,)), ("random", "product")),
    3: Question(3, "harder", 12, ((1,), (2,), (3,)), ("product", "random", "text")),
    4: Question(4, "caption", 13, ((1,),), ("product",)),
    5: Question(5, "caption", 14, ((1,),), ("product",)),
    6: Question(6, "caption", 15, ((1,),), ("random",)),
}


def results(**answers: dict[int, str]) -> Any:
    at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    given = [
        Answer(f"{person}{number}", at, person, number, answer)
        for person, each in answers.items()
        for number, answer in each.items()
    ]
    return results_of(QUESTIONS, given, 300, 0)


def pair(found: Any, one: str, other: str) -> Any:
    return next(each for each in found["pairs"] if each["kinds"] == [one, other])


def test_who_wins_is_the_kind_and_not_the_side() -> None:
    found = results(Ann={1: "1", 2: "1"})
    duel = pair(found, "product", "random")
    assert (duel["value"], duel["won"], duel["lost"], duel["n"]) == (0.5, 1, 1, 2)
    assert found["sides"] == {"1": 2}
    won = pair(results(Ann={1: "1", 2: "2"}), "product", "random")
    assert (won["value"], won["interval"]) == (1.0, "wilson")
    assert (won["low"], won["high"]) == wilson_interval(1.0, 2)


def test_as_hard_counts_half_for_both() -> None:
    found = results(Ann={1: "same", 2: "2"})
    assert pair(found, "product", "random")["value"] == 0.75
    assert found["harder"]["product"]["value"] == 0.75
    assert found["harder"]["random"]["value"] == 0.25


def test_of_three_the_harder_one_wins_against_both_others() -> None:
    found = results(Ann={3: "1"})
    assert pair(found, "product", "random")["won"] == pair(found, "product", "text")["won"] == 1
    assert pair(found, "text", "random")["n"] == 0
    assert pair(found, "text", "random")["value"] is None


def test_unsure_is_left_out_of_the_share_and_counted() -> None:
    found = results(Ann={4: "yes", 5: "unsure", 6: "no"})["caption"]
    assert (found["product"]["value"], found["product"]["n"]) == (1.0, 1)
    assert (found["product"]["yes"], found["product"]["unsure"]) == (1, 1)
    assert found["random"]["value"] == 0.0
    assert found["text"] == {
        "value": None, "low": None, "high": None, "n": 0, "targets": 0, "interval": None,
        "yes": 0, "no": 0, "unsure": 0,
    }  # fmt: skip


def test_answers_that_share_a_target_are_drawn_together() -> None:
    """60 targets, half of them 1: ten copies of each answer say no more than one."""
    once = [(target, float(target % 2)) for target in range(60)]
    found, copied = rate_of(once, 2000, 0), rate_of(once * 10, 2000, 0)
    assert (found["interval"], copied["interval"]) == ("wilson", "bootstrap over targets")
    assert (copied["n"], copied["targets"], copied["value"]) == (600, 60, 0.5)
    assert copied["low"] == pytest.approx(found["low"], abs=0.02)
    assert copied["high"] == pytest.approx(found["high"], abs=0.02)


def test_where_some_are_as_hard_the_interval_is_as_narrow_as_they_make_it() -> None:
    values = [1.0] * 18 + [0.0] * 7 + [0.5] * 75
    found = rate_of(list(enumerate(values)), 2000, 0)
    half = 1.96 * np.std(values) / 10
    assert (found["value"], found["interval"]) == (0.555, "bootstrap over targets")
    assert found["low"] == pytest.approx(0.555 - half, abs=0.01)
    assert found["high"] == pytest.approx(0.555 + half, abs=0.01)


def test_the_bootstrap_holds_the_truth_about_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(5), 0
    for _ in range(60):
        chances = random.beta(2, 3, size=40)  # mean 0.4
        outcomes = [
            (target, float(random.random() < chances[target]))
            for target in range(40)
            for _ in range(3)
        ]
        found = rate_of(outcomes, 100, 1)
        held += found["low"] <= 0.4 <= found["high"]
    assert 51 <= held <= 60  # 57 are expected


def test_targets_that_are_all_alike_have_wilsons_interval() -> None:
    found = rate_of([(1, 1.0), (1, 0.0), (2, 0.0), (2, 1.0)], 100, 0)
    assert (found["low"], found["high"]) == wilson_interval(0.5, 2)
    assert rate_of([(1, 1.0), (1, 0.0), (2, 1.0)], 0, 0)["low"] is None
