"""Captions as markup: what is marked, and that marking shows nothing that was hidden."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from helip.common.text import caption, first_of, plain, words_of


def marked(text: str, words: set[str]) -> list[str]:
    return re.findall(r"<mark>(.*?)</mark>", caption(text, 600, words))


def test_whole_words_are_marked_without_case() -> None:
    assert marked("Red, red-hot reddish RED2 dogs.", {"red", "dogs"}) == ["Red", "red", "dogs"]
    assert marked("Straße STRASSE", {"strasse"}) == ["Straße", "STRASSE"]


def test_words_of_other_scripts_are_whole() -> None:
    assert marked("नमस्ते दुनिया", {"नमस्ते"}) == ["नमस्ते"]
    assert words_of("Ein Bär – ein Fluß") == {"ein", "bär", "fluss"}


def test_words_that_say_nothing_are_none() -> None:
    assert words_of("A picture of the dog, and 12 cats") == {"picture", "dog", "12", "cats"}
    assert words_of("\u202e\u200b <b>") == {"b"}


@given(st.text(max_size=80))
def test_marking_changes_nothing_but_marks(text: str) -> None:
    found = caption(text, 600, words_of(text))
    assert re.sub("</?mark>", "", found) == caption(text, 600)
    bare = re.sub(r"</?(mark|bdi|span)[^>]*>", "", found)
    spelled = re.sub(r"\[(U\+[0-9A-F]{4,6})\]", r"\1", str(escape(plain(text, 600))))
    assert re.sub(r"[\[\]]", "", bare) == re.sub(r"[\[\]]", "", spelled)


def test_the_first_names_say_whether_there_are_more() -> None:
    assert first_of("abc") == "a, b, c"
    assert first_of(iter("abcd")) == "a, b, c, …"
    assert first_of("ab", shown=1) == "a, …"
