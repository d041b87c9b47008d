"""The rules that answer a study in place of people."""

from __future__ import annotations

from typing import Any

from helip_view import Question


def test_the_base_is_the_emoji_without_skin_tone_and_sex(experiments: Any) -> None:
    base_of, codes_of = experiments("study_proxy").base_of, experiments("study_proxy").codes_of
    same = [
        ("1f46e-1f3fc-200d-2640-fe0f", "1f46e-200d-2642", "1f46e"),  # police officers
        ("1f469-1f3fd-200d-1f393", "1f468-200d-1f393", "1f9d1-1f3ff-200d-1f393"),  # students
        ("1f467-1f3fb", "1f466", "1f9d2-1f3ff"),  # children
    ]
    for keys in same:
        assert len({base_of(codes_of(key)) for key in keys}) == 1
    assert len({base_of(codes_of(keys[0])) for keys in same}) == 3
    assert base_of(codes_of("2640")) == (0x2640,)  # the sign alone


def test_rules_count_the_rows_that_are_the_same(experiments: Any) -> None:
    labels = {
        "group": [0, 0, 0, 1, 0],
        "subgroup": [0, 0, 0, 1, 2],
        "base": ["a", "a", "b", "c", "d"],
    }
    rules = experiments("study_proxy").rules_of(labels)
    pools = Question(1, "harder", 0, ((1, 3), (2, 4)), ("text", "image"))
    assert {name: rule(pools) for name, rule in rules.items()} == {
        "group": "2", "subgroup": "same", "base": "1", "subgroup, other base": "2",
    }  # fmt: skip
    for row, said in ((1, ["yes", "yes", "yes"]), (2, ["yes", "yes", "no"]), (3, ["no"] * 3)):
        caption = Question(1, "caption", 0, ((row,),), ("text",))
        assert [rules[level](caption) for level in ("group", "subgroup", "base")] == said
