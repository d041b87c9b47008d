"""κ against published examples and the definition."""

from __future__ import annotations

import math
from datetime import datetime, timezone

import numpy as np
import pytest

from helip.common.proportions import wilson_interval
from helip_view.study_questions import Answer
from helip_view.study_results import agreement_of, cohens_kappa, fleiss_kappa

pytest.importorskip("sklearn")

#: J. L. Fleiss, Psychological Bulletin 76, 1971, table 1: 30 patients, 6 psychiatrists, 5 kinds.
FLEISS = [
    [0, 0, 0, 6, 0], [0, 3, 0, 0, 3], [0, 1, 4, 0, 1], [0, 0, 0, 0, 6], [0, 3, 0, 3, 0],
    [2, 0, 4, 0, 0], [0, 0, 4, 0, 2], [2, 0, 3, 1, 0], [2, 0, 0, 4, 0], [0, 0, 0, 0, 6],
    [1, 0, 0, 5, 0], [1, 1, 0, 4, 0], [0, 3, 3, 0, 0], [1, 0, 0, 5, 0], [0, 2, 0, 3, 1],
    [0, 0, 5, 0, 1], [3, 0, 0, 1, 2], [5, 1, 0, 0, 0], [0, 2, 0, 4, 0], [1, 0, 2, 0, 3],
    [0, 0, 0, 0, 6], [0, 1, 0, 5, 0], [0, 2, 0, 1, 3], [2, 0, 0, 4, 0], [1, 0, 0, 4, 1],
    [0, 5, 0, 1, 0], [4, 0, 0, 0, 2], [0, 2, 0, 4, 0], [1, 0, 5, 0, 0], [0, 0, 0, 0, 6],
]  # fmt: skip


def said(answers: dict[str, str]) -> list[Answer]:
    """Person → a letter for each question."""
    at = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return [
        Answer(f"{person}{place}", at, person, place, letter)
        for person, letters in answers.items()
        for place, letter in enumerate(letters, 1)
        if letter != "-"
    ]


def test_fleiss_is_that_of_his_own_example() -> None:
    assert fleiss_kappa(FLEISS) == pytest.approx(0.430, abs=5e-4)


def test_fleiss_weighs_a_question_as_often_as_it_counts() -> None:
    table = [[3, 0], [2, 1], [0, 3]]
    assert fleiss_kappa(table, [2, 1, 0]) == pytest.approx(fleiss_kappa([[3, 0], [3, 0], [2, 1]]))
    assert math.isnan(fleiss_kappa([[3, 0], [3, 0]]))


def test_cohen_is_that_of_the_definition() -> None:
    """20 yes both, 5 and 10 apart, 15 no both: 0.7 observed, 0.5 by chance."""
    one, other = "y" * 25 + "n" * 25, "y" * 20 + "n" * 5 + "y" * 10 + "n" * 15
    kappa = cohens_kappa(list(one), list(other))
    assert kappa(np.ones(50)) == pytest.approx(0.4)


def test_two_people_have_cohens_and_more_have_fleiss() -> None:
    two = {"Ann": "yynnyn-", "Bo": "yynyynn"}
    found = agreement_of(said(two), bootstrap=20, seed=0)
    assert (found["method"], found["questions"], found["people"]) == ("cohen", 6, ["Ann", "Bo"])
    assert found["share"] == pytest.approx(5 / 6)
    assert found["value"] == pytest.approx(2 / 3)  # (5/6 - 1/2) / (1 - 1/2)
    assert -1 <= found["low"] <= found["value"] <= found["high"] <= 1 and "pairs" not in found
    three = agreement_of(said({**two, "Cy": "yynnnnn"}), bootstrap=0, seed=0)
    assert three["method"] == "fleiss" and three["low"] is None
    counts = [[3, 0], [3, 0], [0, 3], [1, 2], [2, 1], [0, 3]]
    assert three["value"] == pytest.approx(fleiss_kappa(counts))
    assert [each["people"] for each in three["pairs"]] == [
        ["Ann", "Bo"], ["Ann", "Cy"], ["Bo", "Cy"],
    ]  # fmt: skip
    assert three["pairs"][2]["questions"] == 7


@pytest.mark.parametrize("people", [2, 3])
def test_people_who_agree_on_a_few_questions_may_have_agreed_by_chance(people) -> None:
    """All the same on n questions, half of them yes: κ is 1, and down to (l - 1/2) / (1/2) of
    Wilson's lower limit l of n of n."""
    for n in (2, 4, 40):
        found = agreement_of(said(dict.fromkeys("ABC"[:people], "yn" * (n // 2))), 50, seed=0)
        assert (found["value"], found["high"]) == (1.0, 1.0)
        assert found["low"] == pytest.approx(max(-1, 2 * wilson_interval(1.0, n)[0] - 1))


def test_where_chance_says_nothing_there_is_no_kappa() -> None:
    assert agreement_of([], bootstrap=10, seed=0)["method"] is None
    assert agreement_of(said({"Ann": "yn"}), bootstrap=10, seed=0)["method"] is None
    same = agreement_of(said({"Ann": "yyy", "Bo": "yyy"}), bootstrap=10, seed=0)
    assert same["value"] is None and same["share"] == 1.0
    apart = agreement_of(said({"Ann": "y-", "Bo": "-y"}), bootstrap=10, seed=0)
    assert apart["value"] is None and apart["questions"] == 0
