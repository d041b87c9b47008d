"""How many hard pairs of a target go out."""

from __future__ import annotations

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.common.options import Positive, check


def number_of_pairs(table: _core.HardPairs, name: str, given: int | None) -> int:
    """The option ``name``, or k where it is None; InvalidArgumentError unless it is in 1 .. k."""
    if given is None:
        return table.k
    check(name, given, Positive)
    if given > table.k:
        raise InvalidArgumentError(
            f"{name} is {given}, must be at most {table.k}, the k of the table"
        )
    return given
