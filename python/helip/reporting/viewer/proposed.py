"""What to judge next: pairs of which a veto learnt from the verdicts so far is least sure."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from helip.common.errors import InvalidArgumentError, UnsupportedError
from helip.common.text import number
from helip.reporting.viewer.orders import Order
from helip.verdicts.decisions import EXCLUDING
from helip.verdicts.learnt_veto import LearntVeto
from helip.verdicts.proposing import propose
from helip.verdicts.verdicts import Verdicts

FOLDS = 5  # of the cross-validation, and pairs of either kind that it needs at the least
PAIRS = 200  # that are proposed at a time
TARGETS = 50_000  # that are looked at, at most
_CAPTIONS = 50_000  # rows whose captions are read for their common words, at most
_KEPT = 8


class NotLearntError(InvalidArgumentError):
    """There is nothing yet that a veto could be learnt from."""


@dataclass(frozen=True)
class Learnt:
    """Pairs in the order in which they are worth judging, and how far that order can be trusted."""

    order: Order
    words: str


class Proposed:
    """Learns a veto from the verdicts, and proposes what to judge. Safe to use from threads."""

    def __init__(self, pairs: Any, store: Any, data: Any, verdicts: Verdicts | None, by: Any):
        """``by``: a store of the same rows by one model, for cross-scores; None: there is none."""
        self.there = store is not None and verdicts is not None
        if store is not None:
            pairs = pairs.with_store(store)
            pairs = pairs.with_data(data) if len(data) <= _CAPTIONS else pairs
        self._pairs, self._verdicts, self._by = pairs, verdicts, by
        self._kept: OrderedDict[int, Learnt] = OrderedDict()
        self._lock = threading.Lock()

    def learnt(self, seed: int) -> Learnt:
        """The list of this number, learnt when it is first asked for; the last ones are kept.

        Raises NotLearntError where people judged too little, UnsupportedError where the viewer has
        no store or no file of verdicts.
        """
        if not self.there or self._verdicts is None:
            raise UnsupportedError(
                "what to judge next is learnt from verdicts and similarities; start helip view "
                "with --store, and with --verdicts where the table is in no folder"
            )
        with self._lock:
            if seed not in self._kept:
                self._kept[seed] = self._made(self._verdicts, seed)
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return self._kept[seed]

    def _made(self, verdicts: Verdicts, seed: int) -> Learnt:
        _refuse_too_few(verdicts)
        try:
            veto = LearntVeto.fit(verdicts, self._pairs, by=self._by, folds=FOLDS)
        except UnsupportedError as error:
            raise NotLearntError(str(error)) from error
        except InvalidArgumentError as error:  # such as verdicts on pairs of one target alone
            raise NotLearntError(f"Nothing can be learnt yet: {error}") from error
        found = propose(
            verdicts, veto, self._pairs, n=PAIRS, by=self._by, targets=TARGETS,
            seed=seed % 2**32,
        )  # fmt: skip
        places = [self._place(each.target, each.hard) for each in found]
        order = Order(
            np.array([target for target, _ in places], dtype=np.int64),
            np.array([each.probability for each in found], dtype=np.float32),
            np.array([rank for _, rank in places], dtype=np.int16),
        )
        return Learnt(order, _words(veto, len(self._pairs)))

    def _place(self, low: int, high: int) -> tuple[int, int]:
        """The row in whose pool the other is, and the rank there, from 0."""
        at = np.flatnonzero(self._pairs.ids[low] == high)
        if len(at):
            return low, int(at[0])
        return high, int(np.flatnonzero(self._pairs.ids[high] == low)[0])


def _refuse_too_few(verdicts: Verdicts) -> None:
    said = Counter(d.verdict for d in verdicts.decided().values() if d.rows[1] is not None)
    out, kept = sum(n for verdict, n in said.items() if verdict in EXCLUDING), said["keep"]
    if min(out, kept) < FOLDS:
        raise NotLearntError(
            f"There are too few verdicts to learn from: {number(out)} pairs are decided to be "
            f"false negatives or near duplicates, and {number(kept)} to keep. It takes {FOLDS} of "
            "both, and some hundred to be of use. Judge random pairs first, so that what is learnt "
            "holds for the whole table."
        )


def _words(veto: LearntVeto, rows: int) -> str:
    measured = veto.measured
    assert measured is not None
    precision = "In cross-validation it would take out none of them."
    if measured.precision is not None:
        precision = (
            f"In cross-validation {_share(measured.precision)} of what it would take out were "
            f"taken out by people, and it finds {_share(measured.recall)} of those."
        )
    looked = "" if rows <= TARGETS else f" It looks at {number(TARGETS)} targets, drawn at random."
    return (
        f"Learnt from {number(measured.labels)} judged pairs, of which people took out "
        f"{number(measured.positives)}. {precision} It takes nothing out here, and only chooses "
        f"what to ask.{looked}"
    )


def _share(limits: tuple[float, float, float]) -> str:
    value, low, high = (100 * each for each in limits)
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"
