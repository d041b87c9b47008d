"""When captions are equal, and the captions of many rows."""

from __future__ import annotations

import pytest

from helip.data.captions import PackedCaptions, caption_group, normalised_caption, texts_of


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Two  dogs.", "two dogs", True),
        ("STRASSE", "stra\u00dfe", True),
        ("caf\u00e9", "cafe\u0301", True),
        ("\uff26\uff55\uff4c\uff4c\uff01", "full", True),
        ("a dog \u2026", "a dog", True),
        ("a dog", "a dog, running", False),
        ("C#", "C", False),
        ("50 %", "50", False),
        ("...", "!!!", False),
    ],
)
def test_captions_are_equal_by_their_normal_form(one, other, same):
    assert (normalised_caption(one) == normalised_caption(other)) is same
    assert (caption_group(one) == caption_group(other)) is same


def test_a_group_is_the_same_number_in_every_process_and_never_zero():
    assert caption_group("a dog") == caption_group("A dog.") == -4081912340589182210
    assert caption_group("") != 0


def test_the_captions_of_a_cell_are_all_that_are_text_once_each():
    assert texts_of(["bread", " loaf ", "", None, "bread"]) == ["bread", "loaf"]
    assert texts_of(" a ") == ["a"]
    assert texts_of(None) == texts_of(True) == texts_of(0.5) == texts_of({"a": 1}) == []
    assert texts_of(3) == ["3"]


def test_packed_captions_keep_rows_with_none_one_and_several():
    packed = PackedCaptions.of([["a"], [], ["b", "c"], ["d"]])
    assert len(packed) == 4
    assert [packed[row] for row in range(4)] == [["a"], [""], ["b", "c"], ["d"]]
    assert packed.empty_rows().tolist() == [1]
    assert packed.counts() == {"several_captions": 1}
    assert PackedCaptions.of([["a"], []]).counts() == {}
