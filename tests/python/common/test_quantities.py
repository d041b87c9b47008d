"""Times, sizes and tables as people read and write them."""

from __future__ import annotations

import pytest

from helip.common.errors import InvalidArgumentError
from helip.common.quantities import aligned, bytes_words, duration_words, parse_bytes


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


def test_sizes_are_read_with_their_units() -> None:
    assert parse_bytes("4GB") == 4_000_000_000
    assert parse_bytes("512 MiB") == 512 << 20
    assert parse_bytes("1.5k") == 1500
    assert parse_bytes(7) == 7
    assert parse_bytes(None) == 0


@pytest.mark.parametrize("size", ["lots", "4XB", "", -1, 0, 2**63])
def test_what_is_no_size_is_refused(size: object) -> None:
    with pytest.raises(InvalidArgumentError, match="memory is"):
        parse_bytes(size)
