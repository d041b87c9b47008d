"""Verdicts in the viewer: taken from people, shown, and learnt from to propose what to ask next."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np

from helip import InvalidArgumentError, UnsupportedError
from helip.common.text import number
from helip.verdicts import EXCLUDING, Verdicts
from helip_view.learnt_veto import LearntVeto, propose
from helip_view.orders import Order

_UNDOABLE = 200  # places of a person that are known, so that undo goes back to where it was said
_PEOPLE = 1000
_FEW = 10_000  # decisions: as many are read anew after each verdict

FOLDS = 5  # of the cross-validation, and pairs of either kind that it needs at the least
PAIRS = 200  # that are proposed at a time
TARGETS = 50_000  # that are looked at, at most
_CAPTIONS = 50_000  # rows whose captions are read for their common words, at most
_LISTS = 8  # that are kept

#: Key → verdict, in the order of the buttons. "mismatch" is about one row alone.
KEYS = {
    "1": "keep", "2": "false negative", "3": "near duplicate", "4": "mismatch", "5": "unsure",
}  # fmt: skip
MISMATCH = "mismatch"


@dataclass(frozen=True)
class Said:
    """A verdict of a person, in the words of the page."""

    person: str
    verdict: str
    about: str
    """``pair``, ``target`` or ``hard``."""


class TakenVerdicts:
    """Takes verdicts of several people into one file. Safe to use from threads."""

    def __init__(self, verdicts: Any | None) -> None:
        """``verdicts``: an open `Verdicts`; None where the viewer takes none."""
        self._verdicts = verdicts
        self._lock = threading.Lock()
        self._places: OrderedDict[str, list[tuple[str, str]]] = OrderedDict()
        self._known: dict[tuple[int, int | None], str] = {}
        self._own: set[tuple[int, int | None]] = set()  # given here since they were read
        self._read_at, self._changed = -math.inf, True
        self.path = "" if verdicts is None else str(verdicts.path)

    @property
    def verdicts(self) -> Any | None:
        """The open file."""
        return self._verdicts

    @property
    def there(self) -> bool:
        """Whether verdicts are taken."""
        return self._verdicts is not None

    def add(self, target: int, hard: int | None, verdict: str, person: str, place: str) -> None:
        """Keep what a person says of a pair, or of the row ``target`` alone; ``place`` is the
        address where they said it. Raises as `Verdicts.add`; UnsupportedError without a file."""
        said = self._file().add(target, hard, verdict, person=person)
        with self._lock:
            self._changed = True
            self._own.add(said.rows)
            places = self._places.setdefault(said.person, [])
            self._places.move_to_end(said.person)
            places.append((said.id, place))
            del places[:-_UNDOABLE]
            while len(self._places) > _PEOPLE:
                self._places.popitem(last=False)

    def undo(self, person: str) -> tuple[Any, str | None]:
        """Take back a person's last verdict: (it, or None; where it was said, where known)."""
        undone = self._file().undo(person)
        place = None
        if undone is not None:
            with self._lock:
                known = self._places.get(undone.person, [])
                self._changed = True
                place = next((where for each, where in known if each == undone.id), None)
                known[:] = [each for each in known if each[0] != undone.id]
        return undone, place

    def of(self, target: int, hard: int | None) -> list[Said]:
        """What everybody says of a pair, and of its two rows alone."""
        if self._verdicts is None:
            return []
        found = []
        for row, about in ((target, "target"), (hard, "hard")):
            for each in [] if row is None else self._verdicts.of(row):
                if each.hard is None and each.target == row:
                    found.append(Said(each.person, each.verdict, about))
                elif about == "target" and hard is not None and {each.target, each.hard} == {
                    target, hard,
                }:  # fmt: skip
                    found.append(Said(each.person, each.verdict, "pair"))
        return found

    def ranks(self, target: int, ids: list[int]) -> dict[int, str]:
        """Row → the last verdict that somebody gave its pair with the target, of ``ids``."""
        if self._verdicts is None:
            return {}
        found = {}
        for each in self._verdicts.of(target):
            if each.hard is not None:
                found[each.hard if each.target == target else each.target] = each.verdict
        return {row: found[row] for row in ids if row in found}

    def decided(self, state: str) -> list[tuple[int, int | None]]:
        """(target, hard or None) of what was decided as ``state``, or of all for ``judged``."""
        found = [r for r, verdict in self._decisions().items() if state in ("judged", verdict)]
        return sorted(found, key=lambda rows: (rows[0], -1 if rows[1] is None else rows[1]))

    def counts(self) -> dict[str, int]:
        """How many pairs and rows are decided as what."""
        return dict(Counter(self._decisions().values()))

    def is_known(self, target: int, hard: int) -> bool:
        """Whether anybody judged the pair."""
        pair = (min(target, hard), max(target, hard))
        return pair in self._decisions() or pair in self._own

    def _decisions(self) -> dict[tuple[int, int | None], str]:
        """What was decided, as it was a moment ago: many verdicts take long to read."""
        if self._verdicts is None:
            return {}
        with self._lock:
            age = time.monotonic() - self._read_at
            patience = 1 + len(self._known) / 10_000
            if age > patience or (self._changed and len(self._known) < _FEW):
                self._known = {d.rows: d.verdict for d in self._verdicts.decided().values()}
                self._read_at, self._changed = time.monotonic(), False
                self._own.clear()
            return self._known

    def close(self) -> None:
        """Close the file."""
        if self._verdicts is not None:
            self._verdicts.close()

    def _file(self) -> Any:
        if self._verdicts is None:
            raise UnsupportedError(
                "this viewer takes no verdicts, for its table is in no folder; start helip view "
                "with --verdicts FILE"
            )
        return self._verdicts


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
        self._kept = functools.lru_cache(_LISTS)(self._made)
        self._lock = threading.Lock()  # what two ask for is learnt once

    def learnt(self, seed: int) -> Learnt:
        """The list of this number, learnt when it is first asked for; the last ones are kept.

        Raises NotLearntError where people judged too little, UnsupportedError where the viewer has
        no store or no file of verdicts.
        """
        if not self.there:
            raise UnsupportedError(
                "what to judge next is learnt from verdicts and similarities; start helip view "
                "with --store, and with --verdicts where the table is in no folder"
            )
        with self._lock:
            return self._kept(seed)

    def _made(self, seed: int) -> Learnt:
        verdicts = self._verdicts
        assert verdicts is not None
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
        return Learnt(order, _learnt_from(veto, len(self._pairs)))

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


def _learnt_from(veto: LearntVeto, rows: int) -> str:
    measured = veto.measured
    assert measured is not None
    precision = "In cross-validation it would take out none of them."
    if measured.precision is not None:
        precision = (
            f"In cross-validation {_in_percent(measured.precision)} of what it would take out were "
            f"taken out by people, and it finds {_in_percent(measured.recall)} of those."
        )
    looked = "" if rows <= TARGETS else f" It looks at {number(TARGETS)} targets, drawn at random."
    return (
        f"Learnt from {number(measured.labels)} judged pairs, of which people took out "
        f"{number(measured.positives)}. {precision} It takes nothing out here, and only chooses "
        f"what to ask.{looked}"
    )


def _in_percent(limits: tuple[float, float, float]) -> str:
    value, low, high = (100 * each for each in limits)
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"
