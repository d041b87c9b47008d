"""Questions, their answers, and the order of a person."""

from __future__ import annotations

from collections import Counter

import pytest

from helip.common.errors import InvalidArgumentError
from helip_view.study_questions import Question, digest_of, from_row, order_of, to_json

HARDER = Question(1, "harder", 7, ((1, 2), (3, 4)), ("random", "text"))
CAPTION = Question(2, "caption", 8, ((5,),), ("image",))


def test_a_side_may_be_given_as_a_number() -> None:
    assert HARDER.checked(2) == HARDER.checked("2") == "2"
    assert CAPTION.checked("yes") == "yes"
    for question, wrong in ((HARDER, 3), (HARDER, True), (HARDER, "yes"), (CAPTION, 1),
                            (CAPTION, None)):  # fmt: skip
        with pytest.raises(InvalidArgumentError, match=r"answer is .*, must be one of '"):
            question.checked(wrong)


def test_a_question_is_the_same_from_the_file() -> None:
    for each in (HARDER, CAPTION):
        assert from_row(each.number, each.type, each.target, to_json(each)) == each
    swapped = Question(1, "harder", 7, ((1, 2), (3, 4)), ("text", "random"))
    assert digest_of([HARDER]) != digest_of([swapped])


def test_orders_of_people_are_drawn_and_stay() -> None:
    questions = [Question(n, "caption", n, ((0,),), ("text",)) for n in range(1, 11)]
    orders = {name: order_of(questions, name, "f") for name in map(str, range(300))}
    assert orders["7"] == order_of(questions, "7", "f") != order_of(questions, "7", "g")
    assert all(sorted(order) == list(range(1, 11)) for order in orders.values())
    first = Counter(order[0] for order in orders.values())
    assert len(first) == 10 and max(first.values()) < 60  # 30 are expected of each
