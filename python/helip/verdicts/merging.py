"""Several files of verdicts become one, the union of their logs; and verdicts go on to data whose
rows moved, where each row is found again by its key.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError
from helip.common.files import named_file
from helip.store.data_identity import Identity, require_same_data
from helip.store.keys import KeyIndex
from helip.verdicts.database import (
    TakenError,
    connect,
    created,
    database_errors,
    transaction,
)
from helip.verdicts.verdicts import Verdicts, identity_of, keys_of

_COLUMNS = "id, time, person, verdict, target, hard, target_key, hard_key, undoes"
Entry = tuple[Any, ...]
# Places in an entry.
_ID, _TARGET, _HARD, _TARGET_KEY, _HARD_KEY, _UNDOES = 0, 4, 5, 6, 7, 8


def merge(sources: Sequence[str | os.PathLike[str]], *, out: str | os.PathLike[str]) -> Verdicts:
    """The union of the logs of all ``sources``, in the file ``out``, which is opened.

    An entry that several files have, as copies of one file do, comes once, so the order of the
    sources and merging again change nothing. What is in ``out`` already stays, and ``out`` may be
    one of the sources. One name is one person in all files. All or nothing.

    Raises:
        InvalidArgumentError: no source. MismatchError: files of different data. As
            :meth:`Verdicts.open` does.
    """
    paths = [Path(named_file(path)) for path in sources]
    place = Path(named_file(out))
    if not paths:
        raise InvalidArgumentError("sources is empty; give at least one file of verdicts")
    logs = [read_log(path) for path in (*paths, *([place] if place.exists() else []))]
    about = _common([about for about, _ in logs], [*paths, place])
    entries = _union(entry for _, log in logs for entry in log)
    if not place.exists():
        try:
            with created(place, about) as connection:
                add_entries(connection, entries, place)
        except TakenError:  # another process was first
            return merge(sources, out=out)
    else:
        connection = connect(place, wait=10.0)
        try:
            with database_errors(place), transaction(connection):
                connection.execute(
                    "UPDATE about SET value = ? WHERE name = 'data_fingerprint'",
                    (about["data_fingerprint"],),
                )
                add_entries(connection, entries, place)
        finally:
            connection.close()
    return Verdicts.open(place)


def read_log(path: Path) -> tuple[dict[str, str], list[Entry]]:
    """What the file is about, and all of its entries, of one moment."""
    connection = connect(path, wait=10.0)
    try:
        with database_errors(path):
            connection.execute("BEGIN")  # both of one moment
            about = dict(connection.execute("SELECT name, value FROM about").fetchall())
            return about, connection.execute(f"SELECT {_COLUMNS} FROM log").fetchall()
    finally:
        connection.close()


def _common(abouts: Sequence[dict[str, str]], paths: Sequence[Path]) -> dict[str, str]:
    """What all files are about, by the one that knows most."""
    known = max(
        (about["data_fingerprint"] for about in abouts),
        key=lambda text: (sum(part not in ("", "0") for part in text.split("-")), text),
    )
    rows = abouts[0]["rows"]
    for about, path in zip(abouts, paths, strict=False):
        require_same_data(
            f"the file of verdicts {path}", Identity(int(about["rows"]), about["data_fingerprint"]),
            Identity(int(rows), known), f"merge files of one data set, such as that of {paths[0]}",
        )  # fmt: skip
    return {"rows": rows, "data_fingerprint": known}


def _union(entries: Iterable[Entry]) -> list[Entry]:
    """Each entry once, in order of time."""
    found: dict[str, Entry] = {}
    for entry in entries:
        if found.setdefault(entry[0], entry) != entry:
            raise CorruptError(
                f"two files have different entries with the id {entry[0]}; one of them was changed "
                "by other means than helip"
            )
    return sorted(found.values(), key=lambda entry: (entry[1], entry[0]))


def add_entries(connection: sqlite3.Connection, entries: Sequence[Entry], path: Path) -> None:
    """In a transaction of the file that becomes ``path``; MismatchError for a row of two keys."""
    # One that another process added meanwhile is there already.
    connection.executemany(
        f"INSERT INTO log ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO NOTHING",
        entries,
    )
    twice = connection.execute(
        "SELECT row, min(key), max(key) FROM ("
        " SELECT target AS row, target_key AS key FROM log WHERE target_key IS NOT NULL UNION"
        " SELECT hard, hard_key FROM log WHERE hard_key IS NOT NULL)"
        " GROUP BY row HAVING count(*) > 1 LIMIT 1"
    ).fetchone()
    if twice is not None:
        row, one, other = twice
        raise MismatchError(
            f"row {row} is {one!r} in one file and {other!r} in another, of those merged into "
            f"{path}; merge files of one data set"
        )


@dataclass(frozen=True)
class Moved:
    """What became of the entries of a file."""

    kept: int
    """Verdicts, undone ones too, that were found again."""
    lost: int
    """Verdicts of which a key is not in the new data."""
    unkeyed: int
    """Verdicts that know no keys."""


def move(
    source: str | os.PathLike[str],
    *,
    pairs: Any,
    out: str | os.PathLike[str],
    keys: Sequence[str] | None = None,
) -> Moved:
    """Writes the verdicts of ``source`` to a new file ``out``, on the rows that now have their
    keys: after rows were appended, deleted or put in another order.

    Entries keep their ids, so merging what was moved twice changes nothing. A picture or caption
    that became another under its old key is not noticed.

    Args:
        pairs: the table of the new data with its store, or that store, or the data set.
        keys: of the rows of the new data; None: those that ``pairs`` knows.

    Raises:
        InvalidArgumentError: ``out`` exists; no keys. As :meth:`Verdicts.open` does.
    """
    place, path = Path(named_file(out)), Path(named_file(source))
    rows, fingerprint = identity_of(pairs)
    keys = keys_of(pairs) if keys is None else keys
    if keys is None:
        raise InvalidArgumentError(
            "keys is None, and pairs knows no store, so rows cannot be found again; open the "
            "table with its store: HardPairs.open(path, store=…)"
        )
    if len(keys) != rows:
        raise MismatchError(
            f"keys has {len(keys):,} entries and pairs {rows:,} rows; give one key a row"
        )
    _, log = read_log(path)
    index = KeyIndex(keys)
    moved: dict[str, Entry] = {}
    lost = unkeyed = 0
    for entry in log:
        if entry[_UNDOES] is not None:
            continue
        pair = entry[_HARD] is not None
        if entry[_TARGET_KEY] is None or (pair and entry[_HARD_KEY] is None):
            unkeyed += 1
            continue
        target = index.row(entry[_TARGET_KEY])
        hard = index.row(entry[_HARD_KEY]) if pair else None
        if target is None or (pair and (hard is None or hard == target)):
            lost += 1
            continue
        moved[entry[_ID]] = (*entry[:_TARGET], target, hard, *entry[_TARGET_KEY:])
    undone = [entry for entry in log if entry[_UNDOES] in moved]
    entries = sorted([*moved.values(), *undone], key=lambda entry: (entry[1], entry[0]))
    about = {"rows": str(rows), "data_fingerprint": fingerprint}
    with created(place, about) as connection:
        add_entries(connection, entries, place)
    return Moved(len(moved), lost, unkeyed)
