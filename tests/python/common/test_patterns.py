"""Patterns that name files."""

from __future__ import annotations

from pathlib import Path

import pytest

from helip.common.errors import InvalidArgumentError
from helip.common.patterns import expand_braces, natural


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("c/{008..010}.tar", ["c/008.tar", "c/009.tar", "c/010.tar"]),
        ("{8..010}", ["008", "009", "010"]),
        ("{3..1}", ["3", "2", "1"]),
        ("{0..6..3}", ["0", "3", "6"]),
        ("{a,b,}x", ["ax", "bx", "x"]),
        ("{a..c}", ["a", "b", "c"]),
        ("{x,y{1..2}}", ["x", "y1", "y2"]),
        ("{0..1}{a,b}", ["0a", "0b", "1a", "1b"]),
        ("{plain}", ["{plain}"]),
        ("{open", ["{open"]),
        ("{plain}{0..1}", ["{plain}0", "{plain}1"]),
        ("{0..}", ["{0..}"]),
        ("{1..b}", ["{1..b}"]),
    ],
)
def test_braces_expand_as_in_bash(pattern, expected):
    assert expand_braces(pattern) == expected


@pytest.mark.parametrize("pattern", ["{0..99999999999}", "{0..9999}{0..9999}"])
def test_a_pattern_of_too_many_files_is_refused_before_it_is_made(pattern):
    with pytest.raises(InvalidArgumentError, match="more than 1,000,000"):
        expand_braces(pattern)


def test_numbers_order_paths_wherever_they_stand() -> None:
    ordered = ["a/2/b-10.x", "a/10/b-2-f1.x", "a/10/b-3-a9.x", "a/10/b-20.x", "b"]
    assert sorted(map(Path, reversed(ordered)), key=natural) == list(map(Path, ordered))
