"""Rules of a filter that come from people: their verdicts, and what was learnt from them."""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np

from helip import _core
from helip.common.errors import InvalidArgumentError
from helip.pairs.filtering.rules import Flags
from helip.verdicts.features import CROSS
from helip.verdicts.learnt_veto import LearntVeto
from helip.verdicts.opening import exclusions_of


class PeopleRule(Protocol):
    """A rule that looks at the rows of a pair."""

    name: str

    def described(self) -> Any:
        """For the options of the new table."""

    def flags(self, first: int, ids: np.ndarray) -> tuple[Flags, Flags]:
        """Of the targets from ``first`` on with ids [b, k] int64: flagged, and not known."""


class VerdictRule:
    """Flags what people decided is no hard pair; see :class:`helip.Verdicts`."""

    name = "verdicts"

    def __init__(self, verdicts: Any, table: _core.HardPairs) -> None:
        self._exclusions = exclusions_of(verdicts, len(table), table.data_fingerprint)

    def described(self) -> dict[str, Any]:
        return self._exclusions.described()

    def flags(self, first: int, ids: np.ndarray) -> tuple[Flags, Flags]:
        return self._exclusions.flags(first, ids), np.zeros(ids.shape, dtype=bool)


class VetoRule:
    """Flags what a learnt veto would have people take out; see :class:`helip.LearntVeto`.

    Raises:
        InvalidArgumentError: its precision was not measured, or may lie under ``min_precision``;
            not what it was learnt from. MismatchError: it was learnt on other data.
    """

    name = "learnt_veto"

    def __init__(
        self,
        veto: Any,
        table: _core.HardPairs,
        store: Any,
        data: Any,
        by: Any,
        min_precision: float,
    ) -> None:
        self._veto = LearntVeto.open(veto) if isinstance(veto, (str, os.PathLike)) else veto
        if not isinstance(self._veto, LearntVeto):
            raise InvalidArgumentError(
                f"learnt_veto is {veto!r}, must be a LearntVeto, or the path of its file"
            )
        self._veto.refuse_unmeasured(min_precision)
        self._veto.refuse_other_data(len(table), table.data_fingerprint)
        self.uses_by = any(name in CROSS for name in self._veto.features)
        self._features = self._veto.features_in(table, store, by=by, data=data)

    def described(self) -> dict[str, Any]:
        measured = self._veto.to_dict()["measured"]
        return {"features": list(self._veto.features), "measured": measured}

    def flags(self, first: int, ids: np.ndarray) -> tuple[Flags, Flags]:
        chance = self._veto.probabilities(self._features.of_block(first, ids))
        return chance >= self._veto.threshold, np.isnan(chance)
