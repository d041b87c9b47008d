"""Verdicts as CSV and JSON lines."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from helip.common.files import named_file, publish_file
from helip.common.options import check, require
from helip.verdicts.verdicts import VERDICTS, GivenVerdict, Verdicts

What = Literal["verdicts", "decisions", "history"]

_VOTES = {verdict: verdict.replace(" ", "_") for verdict in VERDICTS}
_ENDINGS = (".csv", ".jsonl")


def export_verdicts(
    verdicts: Verdicts,
    path: str | os.PathLike[str],
    *,
    what: What = "verdicts",
    overwrite: bool = False,
) -> int:
    """Writes a file by its ending, ``.csv`` or ``.jsonl``; returns its rows.

    ``what``: ``verdicts``, the newest of each person, or all of ``history``, with the columns
    ``id, time, person, verdict, target, hard, target_key, hard_key, undone``; or ``decisions``,
    with ``row, other, verdict, people`` and the votes for each verdict. What is not known is empty,
    in JSON null.

    Raises:
        InvalidArgumentError: another ending; a file is there, and ``overwrite`` is False.
            StorageError: the disk refuses.
    """
    check("what", what, What)
    place = Path(named_file(path))
    ending = place.suffix.lower()
    bound = f"a path that ends in {' or '.join(_ENDINGS)}, which says what is written"
    require(ending in _ENDINGS, "path", os.fspath(path), bound)
    if what == "decisions":
        columns, rows = ["row", "other", "verdict", "people", *_VOTES.values()], _decided(verdicts)
    else:
        columns = [field.name for field in fields(GivenVerdict)]
        rows = [each.to_dict() for each in (verdicts.history() if what == "history" else verdicts)]
    with (
        publish_file(place, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        if ending == ".csv":
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return len(rows)


def _decided(verdicts: Verdicts) -> list[dict[str, Any]]:
    return [
        {
            "row": decision.rows[0],
            "other": decision.rows[1],
            "verdict": decision.verdict,
            "people": decision.people,
            **{column: decision.votes.get(verdict, 0) for verdict, column in _VOTES.items()},
        }
        for decision in verdicts.decided().values()
    ]
