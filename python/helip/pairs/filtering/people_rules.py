"""Rules of a filter that come from people: their verdicts, and what was learnt from them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.pairs.filtering.rules import Flags
from helip.verdicts.verdicts import exclusions_of


class PairRule(Protocol):
    """A rule that looks at the rows of a pair."""

    name: str
    uses_by: bool
    """Whether it looks at the store ``by``."""

    def described(self) -> Any:
        """For the options of the new table."""

    def flags(self, first: int, ids: np.ndarray) -> tuple[Flags, Flags]:
        """Of the targets from ``first`` on with ids [b, k] int64: flagged, and not known."""


class VerdictRule:
    """Flags what people decided is no hard pair; see :class:`helip.Verdicts`."""

    name = "verdicts"
    uses_by = False

    def __init__(self, verdicts: Any, table: _core.HardPairs) -> None:
        self._exclusions = exclusions_of(verdicts, len(table), table.data_fingerprint)

    def described(self) -> dict[str, Any]:
        return self._exclusions.described()

    def flags(self, first: int, ids: np.ndarray) -> tuple[Flags, Flags]:
        return self._exclusions.flags(first, ids), np.zeros(ids.shape, dtype=bool)


class PairVeto(Protocol):
    """What was learnt of pairs, such as `helip_view.LearntVeto`."""

    def rule(self, table: Any, store: Any, *, by: Any, data: Any, min_precision: float) -> PairRule:
        """Which pairs of ``table`` it takes out, by the store and the data that it was mined from
        and by another store. Raises where it was learnt on other data, or is not precise enough.
        """


def veto_rule(
    veto: Any, table: _core.HardPairs, store: Any, *, by: Any, data: Any, min_precision: float
) -> PairRule:
    """The rule of a `PairVeto`; InvalidArgumentError for anything else."""
    if not callable(getattr(veto, "rule", None)):
        raise InvalidArgumentError(
            f"learnt_veto is {veto!r}, must be an open veto: helip_view.LearntVeto.open(path)"
        )
    rule: PairRule = veto.rule(table, store, by=by, data=data, min_precision=min_precision)
    return rule
