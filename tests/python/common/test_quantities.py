"""Times, sizes and tables as people read them."""

from __future__ import annotations

import pytest

from helip.common.quantities import aligned, bytes_words, duration_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "3.0 s"), (600, "10.0 min"), (7200, "2.0 h"), (864_000, "10.0 days")],
)
def test_a_time_is_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(12, "12 B"), (1_500, "1.5 KB"), (2e9, "2.0 GB"), (3e15, "3000.0 TB")]
)
def test_a_size_is_in_the_unit_that_fits(size: float, words: str) -> None:
    assert bytes_words(size) == words


@pytest.mark.parametrize(
    ("sides", "lines"),
    [
        ("<", ["a    b   c", "ddd  ee  f"]),
        ("<>", ["a     b  c", "ddd  ee  f"]),
        (">><", ["  a   b  c", "ddd  ee  f"]),
    ],
)
def test_columns_are_as_wide_as_their_widest_cells(sides: str, lines: list[str]) -> None:
    assert aligned([("a", "b", "c"), ("ddd", "ee", "f")], sides).splitlines() == lines


def test_lines_have_no_blanks_at_their_ends() -> None:
    assert aligned([("a", "long"), ("b", "")]) == "a  long\nb"
