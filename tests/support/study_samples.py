"""A small study of the table in `view_samples`, and the app that asks it."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helip_view
from helip_view.app import make_app
from helip_view.study_questions import digest_of, from_row
from helip_view.viewing import asking
from support.view_samples import HOST, TOKEN, call_of

CARDS = 16  # the fewest of four kinds, two side by side


def make(folder: Path, out: Path, **options: Any) -> helip_view.Study:
    """A study of what `view_samples.write_all` wrote to ``folder``."""
    given = {"cards": CARDS, "shown": 3, "store": folder / "store", **options}
    return helip_view.make_study(
        folder / "pairs", data=folder / "pictures", out=out, progress=False, **given
    )


def unanswered(folder: Path, to: Path) -> Path:
    """A study of ``folder`` without answers, at ``to``; it is drawn once for each folder."""
    kept = folder / "unanswered.study"
    if not kept.exists():
        make(folder, kept).close()
    return Path(shutil.copy(kept, to))


def with_other_kinds(path: Path, kinds: Mapping[str, str]) -> None:
    """Rename the kinds in the file of a study, and leave its rows."""
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT number, type, target, pools FROM questions").fetchall()
    changed = [
        (number, type_, target, json.dumps([[kinds[k], rows] for k, rows in json.loads(pools)]))
        for number, type_, target, pools in rows
    ]
    with connection:
        connection.execute("DELETE FROM questions")
        connection.executemany("INSERT INTO questions VALUES (?, ?, ?, ?)", changed)
        digest = digest_of([from_row(*row) for row in changed])
        connection.execute("UPDATE about SET value = ? WHERE name = 'fingerprint'", (digest,))
    connection.close()


@contextlib.contextmanager
def study_client(folder: Path, study: Path, **options: Any) -> Iterator[Any]:
    """A client that has followed the address with the token."""
    from starlette.testclient import TestClient

    with asking(call_of(folder, study=study, **{"model": (), **options})) as pages:
        app = make_app(pages, token=TOKEN, hosts=frozenset({HOST}), cookie="helip-8765")
        client = TestClient(app, base_url=f"http://{HOST}")
        assert client.get(f"/?token={TOKEN}").status_code == 200
        yield client
