"""Rivals of hard pairs: parts of captions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("A little girl in a pink dress going into a wooden cabin .",
         ["little girl", "pink dress", "wooden cabin"]),
        ("A black dog and a spotted dog are fighting", ["black dog", "spotted dog"]),
        ("Man on top of a red motorcycle. He is wearing a black helmet.",
         ["man", "red motorcycle", "black helmet"]),
        ("There is a tall building in front of the elephant's head",
         ["tall building", "elephant's head"]),
        ("Arrow Men Navy Blue Polo T-shirt", ["arrow men navy blue polo t-shirt"]),
        ("There is snow. The room is empty", ["snow", "room"]),
        ("It is red and white .", []),
    ],
)  # fmt: skip
def test_noun_phrases_lie_between_the_words_that_join_them(
    experiments: Any, caption: str, phrases: list[str]
) -> None:
    assert experiments("caption_parts").noun_phrases(caption) == phrases


def test_swaps_exchange_two_words_of_a_kind(experiments: Any) -> None:
    parts, rng = experiments("caption_parts"), np.random.default_rng(0)
    caption = "A black dog chases the brown cat."
    found = {parts.swapped(caption, rng) for _ in range(40)}
    assert found == {"A black cat chases the brown dog.", "A brown dog chases the black cat."}
    # One phrase: any two words of it.
    found = {parts.swapped("the blue shirt", rng) for _ in range(40)}
    assert found == {"the shirt blue"}
    for caption in ("A dog", "the dog and the Dog", "It is on the .", ""):
        assert parts.swapped(caption, rng) is None
