"""Several files of verdicts become one, and one goes on to data whose rows moved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helip.common.errors import CorruptError, InvalidArgumentError, MismatchError
from helip.common.files import named_file
from helip.common.options import require
from helip.common.sqlite_log import create, is_absent
from helip.store.data_identity import Identity, require_same_data
from helip.store.keys import KeyIndex
from helip.verdicts.verdicts import FORMAT, Verdicts, about_data

_COLUMNS = ("id", "time", "person", "verdict", "target", "hard", "target_key", "hard_key", "undoes")
_READ = f"SELECT {', '.join(_COLUMNS)} FROM log ORDER BY time, id"
# One that another process added meanwhile is there already.
_INSERT = (
    f"INSERT INTO log ({', '.join(_COLUMNS)}) VALUES ({', '.join(map(':{}'.format, _COLUMNS))})"
    " ON CONFLICT (id) DO NOTHING"
)
_NEW = "a new file, and something is there"
Entry = dict[str, Any]


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
    if not is_absent(place, FORMAT):
        paths.append(place)
    logs = {path: _read_log(path) for path in paths}
    about = _common({path: identity for path, (identity, _) in logs.items()})
    entries = _union((entry for _, log in logs.values() for entry in log), place)
    if not create(place, FORMAT, about, insert=_INSERT, rows=entries):
        with Verdicts.open(place) as opened, opened._writing() as connection:
            connection.execute(
                "UPDATE about SET value = :data_fingerprint WHERE name = 'data_fingerprint'", about
            )
            connection.executemany(_INSERT, entries)
    return Verdicts.open(place)


def _read_log(path: Path) -> tuple[Identity, list[Entry]]:
    """What data the file is of, and all of its entries in order of time."""
    with Verdicts.open(path) as opened:
        entries = [dict(zip(_COLUMNS, row, strict=True)) for row in opened._read(_READ)]
        return Identity(opened.rows, opened.data_fingerprint), entries


def _common(identities: Mapping[Path, Identity]) -> dict[str, str]:
    """What all files are about, by the one that knows most."""
    first = next(iter(identities))
    known = max(
        (each.fingerprint for each in identities.values()),
        key=lambda text: (sum(part not in ("", "0") for part in text.split("-")), text),
    )
    rows = identities[first].rows
    for path, identity in identities.items():
        require_same_data(
            f"the file of verdicts {path}", identity, Identity(rows, known),
            f"merge files of one data set, such as that of {first}",
        )  # fmt: skip
    return {"rows": str(rows), "data_fingerprint": known}


def _union(entries: Iterable[Entry], place: Path) -> list[Entry]:
    """Each entry once, in order of time; MismatchError for a row of two keys."""
    found: dict[str, Entry] = {}
    keys: dict[int, str] = {}
    for entry in entries:
        if found.setdefault(entry["id"], entry) != entry:
            raise CorruptError(
                f"two files have different entries with the id {entry['id']}; one of them was "
                "changed by other means than helip"
            )
        for side in ("target", "hard"):
            row, key = entry[side], entry[f"{side}_key"]
            if key is not None and (other := keys.setdefault(row, key)) != key:
                one, two = sorted((key, other))
                raise MismatchError(
                    f"row {row} is {one!r} in one file and {two!r} in another, of those merged "
                    f"into {place}; merge files of one data set"
                )
    return sorted(found.values(), key=lambda entry: (entry["time"], entry["id"]))


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
    place = Path(named_file(out))
    require(is_absent(place, FORMAT), "out", str(place), _NEW)
    about, keys = about_data(pairs, keys)
    if keys is None:
        raise InvalidArgumentError(
            "keys is None, and pairs knows no store, so rows cannot be found again; open the "
            "table with its store: HardPairs.open(path, store=…)"
        )
    _, log = _read_log(Path(named_file(source)))
    index = KeyIndex(keys)
    moved: dict[str, Entry] = {}
    lost = unkeyed = 0
    for entry in log:
        if entry["undoes"] is not None:
            continue
        sides = ("target",) if entry["hard"] is None else ("target", "hard")
        known = [entry[f"{side}_key"] for side in sides]
        if None in known:
            unkeyed += 1
            continue
        rows = [index.row(key) for key in known]
        if None in rows or len(set(rows)) < len(rows):
            lost += 1
            continue
        moved[entry["id"]] = {**entry, **dict(zip(sides, rows, strict=True))}
    entries = [moved.get(e["id"], e) for e in log if e["id"] in moved or e["undoes"] in moved]
    new = create(place, FORMAT, about, insert=_INSERT, rows=entries)
    require(new, "out", str(place), _NEW)
    return Moved(len(moved), lost, unkeyed)
