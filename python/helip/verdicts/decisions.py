"""One verdict of one person, what may be said of what, and the decision of several people."""

from __future__ import annotations

import operator
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal

from helip.common.errors import InvalidArgumentError
from helip.common.options import Whole, check, require

Verdict = Literal["keep", "false negative", "near duplicate", "mismatch", "unsure"]

VERDICTS: tuple[Verdict, ...] = (
    "keep",
    "false negative",
    "near duplicate",
    "mismatch",
    "unsure",
)
#: What may be said of two rows, and of one row alone.
OF_PAIRS = ("keep", "false negative", "near duplicate", "unsure")
OF_ROWS = ("keep", "mismatch", "unsure")
#: Verdicts after which a pair is no hard pair.
EXCLUDING = ("false negative", "near duplicate")

_PERSON_LENGTH = 100


@dataclass(frozen=True)
class Judgement:
    """What one person said of a pair, or of a row alone. Immutable."""

    id: str
    """Of this judgement, the same in every copy of the file."""
    time: datetime
    """When it was said, in UTC."""
    person: str
    verdict: Verdict
    target: int
    """Row of the target, or the row that the verdict is about."""
    hard: int | None
    """Row of the hard pair; None: the verdict is about the target's row alone."""
    target_key: str | None = None
    """Keys of both rows, where they were known."""
    hard_key: str | None = None
    undone: bool = False
    """Whether the person took it back."""

    @property
    def rows(self) -> tuple[int, int | None]:
        """What it is about: both rows, the smaller one first, or (row, None)."""
        return subject(self.target, self.hard)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values, the time in ISO 8601."""
        return {
            "id": self.id,
            "time": self.time.isoformat(timespec="microseconds"),
            "person": self.person,
            "verdict": self.verdict,
            "target": self.target,
            "hard": self.hard,
            "target_key": self.target_key,
            "hard_key": self.hard_key,
            "undone": self.undone,
        }


@dataclass(frozen=True)
class Decision:
    """What all people together say of a pair, or of a row alone. Immutable."""

    rows: tuple[int, int | None]
    """Both rows, the smaller one first, or (row, None)."""
    verdict: Verdict
    """The verdict of most people; ``unsure`` where two verdicts have as many."""
    votes: dict[str, int] = field(default_factory=dict)
    """Verdict → people, of those verdicts that someone gave."""

    @property
    def people(self) -> int:
        """How many people judged it."""
        return sum(self.votes.values())

    @property
    def agreed(self) -> bool:
        """Whether all of them said the same."""
        return len(self.votes) == 1


def subject(target: int, hard: int | None) -> tuple[int, int | None]:
    """What a verdict is about: (a, b) and (b, a) are one pair."""
    return (target, None) if hard is None else (min(target, hard), max(target, hard))


def decide(rows: tuple[int, int | None], votes: dict[str, int]) -> Decision:
    """The verdict with the most votes; a tie at the top is ``unsure``."""
    most = max(votes.values())
    first = [verdict for verdict in VERDICTS if votes.get(verdict) == most]
    return Decision(rows, first[0] if len(first) == 1 else "unsure", dict(sorted(votes.items())))


def checked_row(name: str, row: Any, rows: int) -> int:
    """As int; InvalidArgumentError for NaN, a fraction, a row outside 0 .. rows - 1."""
    check(name, row, Whole)
    bound = f"a row of the data, 0 to {rows - 1}" if rows else "a row, and the data has none"
    require(operator.index(row) < rows, name, row, bound)
    return operator.index(row)


def checked_rows(target: Any, hard: Any, rows: int) -> tuple[int, int | None]:
    """`checked_row` of both, which must differ; ``hard`` may be None."""
    target = checked_row("target", target, rows)
    if hard is None:
        return target, None
    hard = checked_row("hard", hard, rows)
    if target == hard:
        raise InvalidArgumentError(
            f"target and hard are both row {target}; give two rows, or hard=None for a verdict on "
            "the row alone"
        )
    return target, hard


def checked_verdict(verdict: Any, hard: int | None) -> Verdict:
    """InvalidArgumentError for an unknown verdict, and for one that is of pairs or rows alone."""
    require(verdict in VERDICTS, "verdict", verdict, f"one of {', '.join(map(repr, VERDICTS))}")
    if hard is not None and verdict not in OF_PAIRS:
        raise InvalidArgumentError(
            f"verdict is {verdict!r}, which is about one row's own caption, and hard is {hard}; "
            "give the row whose caption is wrong as target, and hard=None"
        )
    if hard is None and verdict not in OF_ROWS:
        raise InvalidArgumentError(
            f"verdict is {verdict!r}, which is about two rows, and hard is None; give the row of "
            f"the hard pair, or one of {', '.join(map(repr, OF_ROWS))} for a row alone"
        )
    checked: Verdict = verdict
    return checked


def checked_person(person: Any) -> str:
    """A name of 1 to 100 characters, spaces around it removed, in one Unicode form."""
    bound = f"a name of 1 to {_PERSON_LENGTH} characters, without line breaks"
    require(isinstance(person, str), "person", person, bound)
    name = unicodedata.normalize("NFC", person).strip()
    plain = all(unicodedata.category(character)[0] != "C" for character in name)
    require(0 < len(name) <= _PERSON_LENGTH and plain, "person", person, bound)
    return name


def time_of(microseconds: int) -> datetime:
    """The time in UTC of microseconds since 1970."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=rest)
