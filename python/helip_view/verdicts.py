"""Verdicts as the viewer shows and takes them, of the room `verdicts`."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Any

from helip import UnsupportedError

_UNDOABLE = 200  # places of a person that are known, so that undo goes back to where it was said
_PEOPLE = 1000
_FEW = 10_000  # decisions: as many are read anew after each verdict

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


class Judging:
    """Takes verdicts of several people into one file. Safe to use from threads."""

    def __init__(self, verdicts: Any | None) -> None:
        """``verdicts``: an open `Verdicts`; None where the viewer takes none."""
        self._verdicts = verdicts
        self._lock = threading.Lock()
        self._places: OrderedDict[str, list[tuple[str, str]]] = OrderedDict()
        self._known: dict[tuple[int, int | None], str] = {}
        self._own: set[tuple[int, int | None]] = set()  # judged here since they were read
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

    def judge(self, target: int, hard: int | None, verdict: str, person: str, place: str) -> None:
        """Keep what a person says of a pair, or of the row ``target`` alone; ``place`` is the
        address where they said it. Raises as `Verdicts.judge`; UnsupportedError without a file."""
        said = self._file().judge(target, hard, verdict, person=person)
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

    def is_judged(self, target: int, hard: int) -> bool:
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
