"""Verdicts go on to data whose rows moved: each row is found again by its key."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helip.common.errors import InvalidArgumentError, MismatchError
from helip.common.files import named_file
from helip.store.keys import KeyIndex
from helip.verdicts.database import created
from helip.verdicts.merging import Entry, add_entries, read_log
from helip.verdicts.verdicts import identity_of, keys_of

# Places in an entry.
_ID, _TARGET, _HARD, _TARGET_KEY, _HARD_KEY, _UNDOES = 0, 4, 5, 6, 7, 8


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
