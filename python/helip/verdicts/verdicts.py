"""Verdicts: one SQLite file in which people say what pairs of a table are."""

from __future__ import annotations

import operator
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError
from helip.common.files import named_file
from helip.common.options import Whole, check, require
from helip.common.remote.urls import shown, url_of
from helip.common.sqlite_log import (
    LogFormat,
    SqliteLog,
    checked_person,
    connect,
    create,
    is_absent,
    log_schema,
    time_of,
)
from helip.store.data_identity import Identity, require_same_data
from helip.verdicts.exclusions import Exclusions

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

FORMAT = LogFormat(
    application=0x68656C76,  # "helv"
    version=1,
    schema=(
        *log_schema(
            columns=(
                "verdict TEXT CHECK (verdict IN"
                " ('keep', 'false negative', 'near duplicate', 'mismatch', 'unsure'))",
                "target INTEGER CHECK (typeof(target) IN ('integer', 'null') AND target >= 0)",
                "hard INTEGER CHECK"
                " (typeof(hard) IN ('integer', 'null') AND hard >= 0 AND hard != target)",
                "target_key TEXT",
                "hard_key TEXT",
            ),
            said="verdict",
            about="target",
            # A pair, or a row alone.
            subject="min(target, ifnull(hard, target)), max(target, hard)",
        ),
        "CREATE INDEX log_target ON log (target)",
        "CREATE INDEX log_hard ON log (hard)",
    ),
    file="file of verdicts",
    contents="verdicts",
)


@dataclass(frozen=True)
class GivenVerdict:
    """What one person said of a pair, or of a row alone. Immutable."""

    id: str
    """Of this entry, the same in every copy of the file."""
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
        return {**vars(self), "time": self.time.isoformat(timespec="microseconds")}


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


def checked_said(
    target: Any, hard: Any, verdict: Any, rows: int
) -> tuple[int, int | None, Verdict]:
    """Rows by `checked_row`, which must differ, and a known verdict, of pairs or, with ``hard``
    None, of rows."""
    target = checked_row("target", target, rows)
    hard = None if hard is None else checked_row("hard", hard, rows)
    if target == hard:
        raise InvalidArgumentError(
            f"target and hard are both row {target}; give two rows, or hard=None for a verdict on "
            "the row alone"
        )
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
    return target, hard, verdict


_SAID = "verdict, target, hard, target_key, hard_key"
_COLUMNS = f"id, time, person, {_SAID}"
_SHOWN = 3


class Verdicts(SqliteLog):
    """What people said of pairs of rows, and of rows alone, in one SQLite file.

    The file is a log that is only appended to. Of a person the newest verdict on a pair counts, and
    :meth:`undo` takes the last one back; nothing is lost. (a, b) and (b, a) are one pair, since a
    batch compares either picture with either caption. ``mismatch`` is about one row: its caption is
    not that of its picture. ``false negative`` and ``near duplicate`` are about two rows, ``keep``
    and ``unsure`` about either.

    A verdict lasts once :meth:`add` has returned, also through a kill or a power loss. Several
    processes may write to one file on a local disk; a network file system is not safe. Threads may
    share an object. Do not use one after a fork: open the file again there.
    """

    def __init__(
        self, path: Path, connection: sqlite3.Connection, keys: Sequence[str] | None
    ) -> None:
        super().__init__(path, connection, FORMAT)
        self._keys = keys
        last = self._read("SELECT max(ifnull(max(target), 0), ifnull(max(hard), 0)) FROM log")[0][0]
        try:
            self._rows = int(self._about["rows"])
            self._data_fingerprint = self._about["data_fingerprint"]
        except (KeyError, ValueError) as error:
            raise CorruptError(f"{path} does not say what data it is of ({error!r})") from error
        if last >= max(self._rows, 1):
            raise CorruptError(
                f"{path} has a verdict on row {last}, and is of data with {self._rows} rows; it "
                "was changed by other means than helip"
            )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        pairs: Any = None,
        keys: Sequence[str] | None = None,
        wait: float = 10.0,
    ) -> Verdicts:
        """Opens the file of verdicts at ``path``; with ``pairs`` a missing one is made.

        Args:
            pairs: the table that is judged, or its store or data set: the file must be of the same
                data. None: it is not compared.
            keys: keys of the rows of the data; None: those of the table's store, where it knows it.
                Verdicts keep the keys, and a file whose keys stand at other rows is refused.
            wait: seconds to wait for another process that is writing.

        Raises:
            MismatchError: a file of other data. StorageError: no file, or locked, or it cannot be
                written. CorruptError: damaged, or not of verdicts. UnsupportedError: newer.
        """
        path = Path(named_file(path))
        check("wait", wait, float)
        require(wait >= 0, "wait", wait, "at least 0 seconds")
        if pairs is not None:
            about, keys = about_data(pairs, keys)
            if is_absent(path, FORMAT, wait=wait):
                create(path, FORMAT, about, wait=wait)
        connection = connect(path, FORMAT, wait=wait)
        try:
            found = cls(path, connection, keys)
            if pairs is not None:
                found.refuse_other_data(int(about["rows"]), about["data_fingerprint"])
            found._refuse_other_keys()
        except BaseException:
            connection.close()
            raise
        return found

    @staticmethod
    def usual_path(pairs: str | os.PathLike[str]) -> Path:
        """The usual place: ``TABLE.verdicts``, beside the table at that path."""
        if url_of(pairs) is not None:
            raise InvalidArgumentError(
                f"the table is at {shown(pairs)}, and verdicts need a local disk; name a file"
            )
        path = Path(named_file(pairs))
        return path.with_name(f"{path.name}.verdicts")

    def add(self, target: int, hard: int | None, verdict: Verdict, *, person: str) -> GivenVerdict:
        """Writes what ``person`` says of the pair, or with ``hard=None`` of the row ``target``.

        Raises:
            InvalidArgumentError: a row outside the data, NaN, one row twice; an unknown verdict, or
                one that is not of that kind; no name. StorageError: locked, or the disk is full.
        """
        target, hard, verdict = checked_said(target, hard, verdict, self._rows)
        person = checked_person(person)
        keys = self._key(target), None if hard is None else self._key(hard)
        (entry,) = self._append(person, _SAID, [(verdict, target, hard, *keys)])
        return _given(entry)

    def undo(self, person: str) -> GivenVerdict | None:
        """Takes back the newest verdict of ``person`` that stands in the log; returns it.

        What they had said of that pair before holds again. None where there is nothing to undo.
        """
        last = self._take_back(checked_person(person), _SAID)
        return None if last is None else _given(last, undone=True)

    def of(self, target: int) -> list[GivenVerdict]:
        """The newest verdict of each person on the row, and on each pair that it is in."""
        target = checked_row("target", target, self._rows)
        rows = self._read(
            # GivenVerdicts of other pairs hide none of these, so the log may be cut first.
            f"SELECT {_COLUMNS} FROM kept WHERE target = ?1 UNION ALL "
            f"SELECT {_COLUMNS} FROM kept WHERE hard = ?1 ORDER BY time, id",
            (target,),
        )
        newest = {(row[2], subject(row[4], row[5])): row for row in rows}
        return [_given(row) for row in sorted(newest.values(), key=lambda row: (row[1], row[0]))]

    def __iter__(self) -> Iterator[GivenVerdict]:
        """The newest verdict of each person on each pair and row, in order of time."""
        rows = self._read(f"SELECT {_COLUMNS} FROM standing ORDER BY time, id")
        return map(_given, rows)

    def __len__(self) -> int:
        """Verdicts that stand: one for each person and pair, or row."""
        return int(self._read("SELECT count(*) FROM standing")[0][0])

    def history(self) -> list[GivenVerdict]:
        """All that was ever said, in order of time, also what was taken back or said anew."""
        undone = {row[0] for row in self._read("SELECT undoes FROM log WHERE undoes IS NOT NULL")}
        rows = self._read(f"SELECT {_COLUMNS} FROM log WHERE verdict IS NOT NULL ORDER BY time, id")
        return [_given(row, undone=row[0] in undone) for row in rows]

    def decided(self) -> dict[tuple[int, int | None], Decision]:
        """One decision for each pair and row that was judged, by its ``rows``.

        Each person has one vote, their newest verdict. The verdict with the most votes wins,
        ``unsure`` is a vote as the others are, and a tie at the top is ``unsure``.
        """
        votes = self._read(
            "SELECT min(target, ifnull(hard, target)), max(target, hard), verdict, count(*)"
            " FROM standing GROUP BY 1, 2, 3 ORDER BY 1, 2"
        )
        found: dict[tuple[int, int | None], dict[str, int]] = {}
        for low, high, verdict, people in votes:
            found.setdefault((low, high), {})[verdict] = people
        return {rows: decide(rows, each) for rows, each in found.items()}

    def excluded(self) -> Exclusions:
        """What must be in no pool: pairs decided to be false negatives or near duplicates, and rows
        decided to be mismatched."""
        decided = self.decided().values()
        pairs = [list(d.rows) for d in decided if d.verdict in EXCLUDING]
        rows = [d.rows[0] for d in decided if d.verdict == "mismatch"]
        return Exclusions(
            np.array(pairs, dtype=np.int64).reshape(-1, 2),
            np.array(rows, dtype=np.int64),
            os.fspath(self._path),
        )

    def counts(self) -> dict[str, Any]:
        """Counts as JSON-able values.

        ``judged`` pairs and rows, ``pairs`` and ``rows`` by decided verdict, ``people``: the
        verdicts of each person that stand, ``log``: all entries and how many were undone,
        ``agreement``: ``judged`` by two or more people, of which ``all_agreed``, and ``share``, the
        share of pairs of people that said the same, None where no two judged one thing.
        """
        decisions = list(self.decided().values())
        people: dict[str, dict[str, int]] = {}
        for person, verdict, number in self._read(
            "SELECT person, verdict, count(*) FROM standing GROUP BY 1, 2 ORDER BY 1, 2"
        ):
            people.setdefault(person, {})[verdict] = number
        entries, undone = self._read("SELECT count(verdict), count(DISTINCT undoes) FROM log")[0]
        several = [decision for decision in decisions if decision.people > 1]
        meetings = sum(d.people * (d.people - 1) for d in several)
        same = sum(n * (n - 1) for d in several for n in d.votes.values())
        return {
            "judged": len(decisions),
            "pairs": _by_verdict(d for d in decisions if d.rows[1] is not None),
            "rows": _by_verdict(d for d in decisions if d.rows[1] is None),
            "people": people,
            "log": {"verdicts": entries, "undone": undone},
            "agreement": {
                "judged": len(several),
                "all_agreed": sum(d.agreed for d in several),
                "share": same / meetings if meetings else None,
            },
        }

    @property
    def rows(self) -> int:
        """Rows of the data that is judged."""
        return self._rows

    @property
    def data_fingerprint(self) -> str:
        """Of the data that is judged; empty where the table knew none."""
        return self._data_fingerprint

    def refuse_other_data(self, rows: int, data_fingerprint: str) -> None:
        """MismatchError where the verdicts are on other data than that of so many rows."""
        require_same_data(
            f"the file of verdicts {self._path}", Identity(self._rows, self._data_fingerprint),
            Identity(rows, data_fingerprint),
            "give the file of this table's data, or another path for a new one",
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"Verdicts({os.fspath(self._path)!r}, {len(self):,} verdicts)"

    def _key(self, row: int) -> str | None:
        key = None if self._keys is None else str(self._keys[row])
        # A file's name need not be UTF-8, and SQLite's text must be: such a row is known by number.
        return key if key is None or key.encode(errors="ignore").decode() == key else None

    def _refuse_other_keys(self) -> None:
        if self._keys is None:
            return
        named = self._read(
            "SELECT DISTINCT target, target_key FROM log WHERE target_key IS NOT NULL UNION "
            "SELECT DISTINCT hard, hard_key FROM log WHERE hard_key IS NOT NULL ORDER BY 1"
        )
        wrong = [(row, key) for row, key in named if self._key(row) != key]
        if wrong:
            shown = "; ".join(
                f"row {row} was {key!r}, now {self._key(row)!r}" for row, key in wrong[:_SHOWN]
            )
            raise MismatchError(
                f"{len(wrong):,} rows of the verdicts in {self._path} have other keys than the "
                f"data: {shown}; give the data that was judged"
            )


def about_data(
    pairs: Any, keys: Sequence[str] | None
) -> tuple[dict[str, str], Sequence[str] | None]:
    """What a file says of the data of a table, a store or a data set: rows and fingerprint, "" if
    it has none; and keys of the rows, those given or those that it knows."""
    if isinstance(pairs, (str, os.PathLike)) or not hasattr(pairs, "__len__"):
        raise InvalidArgumentError(
            f"pairs is {pairs!r}, must be an open table, store or data set; open it first: "
            "HardPairs.open(path)"
        )
    names: tuple[str, ...] = ("data_fingerprint", "keys_fingerprint")  # of a table and a store
    if not any(hasattr(pairs, name) for name in names):
        names = ("fingerprint",)  # of a data set
    known = [str(getattr(pairs, name, "")) for name in names]
    if keys is None:
        store = getattr(pairs, "store", None)
        found = getattr(pairs if store is None else store, "keys", None)
        keys = None if callable(found) else found
    if keys is not None and len(keys) != len(pairs):
        raise MismatchError(
            f"keys has {len(keys):,} entries and pairs {len(pairs):,} rows; give one key a row"
        )
    return {"rows": str(len(pairs)), "data_fingerprint": next(filter(None, known), "")}, keys


#: What mining, filters and loaders take.
Source = Verdicts | Exclusions | str | os.PathLike[str]


def exclusions_of(verdicts: Source | None, rows: int, data_fingerprint: str) -> Exclusions:
    """What an open file of verdicts, or the one at a path, excludes from data of so many rows.

    Raises:
        MismatchError: verdicts on other data. As :meth:`Verdicts.open` does.
    """
    if isinstance(verdicts, Exclusions):
        named = np.concatenate([verdicts.pairs.ravel(), verdicts.rows])
        if len(named) and not 0 <= named.min() <= named.max() < rows:
            raise InvalidArgumentError(
                f"verdicts name rows {named.min()} to {named.max()}, must be 0 to {rows - 1}"
            )
        return verdicts
    if isinstance(verdicts, (str, os.PathLike)):
        with Verdicts.open(verdicts) as opened:
            return exclusions_of(opened, rows, data_fingerprint)
    words = "open Verdicts, or the path of their file"
    if not isinstance(verdicts, Verdicts):
        raise InvalidArgumentError(f"verdicts is {verdicts!r}, must be {words}")
    verdicts.refuse_other_data(rows, data_fingerprint)
    return verdicts.excluded()


def _given(row: Sequence[Any], *, undone: bool = False) -> GivenVerdict:
    entry, at, person, verdict, target, hard, target_key, hard_key = row
    return GivenVerdict(
        entry, time_of(at), person, verdict, target, hard, target_key, hard_key, undone
    )


def _by_verdict(decisions: Iterable[Decision]) -> dict[str, int]:
    return dict(sorted(Counter(decision.verdict for decision in decisions).items()))
