"""How many cards there are of what, and which options are refused."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest

from helip.common.errors import InvalidArgumentError
from helip_view.options import KINDS, StudyOptions, StudyResultOptions


@pytest.mark.parametrize(
    ("kinds", "choices", "cards"),
    [(KINDS, 2, 200), (KINDS, 2, 16), (KINDS, 3, 200), (KINDS, 4, 56), (KINDS[:2], 2, 4),
     (KINDS[1:], 2, 51), (KINDS[1:], 3, 9)],
)  # fmt: skip
def test_kinds_pairs_of_kinds_and_sides_are_balanced(
    kinds: tuple[Any, ...], choices: int, cards: int
) -> None:
    layout = StudyOptions(kinds=kinds, choices=choices, cards=cards).layout()
    assert len(layout) == cards
    harder = [each for type_, each in layout if type_ == "harder"]
    captions = [each for type_, each in layout if type_ == "caption"]
    assert harder and captions
    sides = Counter((side, kind) for each in harder for side, kind in enumerate(each))
    assert set(sides) == set(itertools.product(range(choices), kinds))
    pairs = Counter(pair for each in harder for pair in itertools.permutations(each, 2))
    assert set(pairs) == set(itertools.permutations(kinds, 2))
    for counts in (sides, pairs, Counter(captions)):
        assert len(set(counts.values())) == 1
    assert set(captions) == {(kind,) for kind in kinds}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cards": 201}, "cards is 201, must be a multiple of 4 from 16 on"),
        ({"cards": 12}, "cards is 12, must be a multiple of 4 from 16 on"),
        ({"cards": 24, "choices": 3}, "cards is 24, must be a multiple of 4 from 28 on"),
        ({"kinds": ()}, r"kinds is \(\), must be two or more of product, image, text, random"),
        ({"kinds": ("text", "text")}, "must be two or more of product, .*, each once"),
        ({"kinds": "text"}, "kinds is 'text', must be two or more"),
        ({"kinds": ("text", "sound")}, "kinds is 'sound', must be one of 'product'"),
        ({"kinds": ("text", "image"), "choices": 3}, "choices is 3, must be at most 2"),
        ({"choices": 5}, "choices is 5, must be at most 4"),
        ({"shown": 0}, "shown is 0, must be at least 1"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value),
)
def test_options_that_cannot_be_balanced_are_refused(options: Any, words: str) -> None:
    with pytest.raises(InvalidArgumentError, match=words):
        StudyOptions(**options)


def test_people_are_several_names() -> None:
    with pytest.raises(InvalidArgumentError, match="people is 'Ann', must be a tuple of names"):
        StudyResultOptions(people="Ann")  # type: ignore[arg-type]
