"""Numbered pieces of a file as few ranges of them."""

from __future__ import annotations

from collections.abc import Iterable


def runs(numbers: Iterable[int], *, near: int, longest: int) -> list[tuple[int, int]]:
    """Ranges [begin, end) that hold all of ``numbers``, which ascend.

    Those with at most ``near`` others between them come in one range, of ``longest`` at most.
    """
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number - found[-1][1] <= near and number - found[-1][0] < longest:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found
