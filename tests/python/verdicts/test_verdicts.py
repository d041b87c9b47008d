"""The file of verdicts: what it keeps, what counts, who may write, and what is refused."""

from __future__ import annotations

import math
import sqlite3
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import helip
from helip import HardPairs, Verdicts
from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)

ROWS = 6


def table(rows: int = ROWS, data: str = "k1-c1-0-0") -> HardPairs:
    ids = (np.arange(rows, dtype=np.int32)[:, None] + [1, 2]) % rows
    scores = np.tile(np.float32([0.9, 0.8]), (rows, 1))
    return HardPairs.from_arrays(ids.astype(np.int32), scores, data_fingerprint=data)


def opened(folder: Path, **options: Any) -> Verdicts:
    return Verdicts.open(folder / "v", **{"pairs": table(), **options})


def said(verdicts: Verdicts) -> list[tuple[Any, ...]]:
    return [(j.person, j.target, j.hard, j.verdict) for j in verdicts]


def test_what_was_said_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    with opened(tmp_path) as verdicts:
        one = verdicts.add(2, 0, "false negative", person=" Ada ")
        two = verdicts.add(np.int64(4), None, "mismatch", person="Ada")
    with Verdicts.open(tmp_path / "v") as again:
        assert list(again) == [one, two]
        assert said(again) == [("Ada", 2, 0, "false negative"), ("Ada", 4, None, "mismatch")]
        assert before < one.time < two.time
        assert (again.rows, again.data_fingerprint, len(again)) == (ROWS, "k1-c1-0-0", 2)


def test_the_newest_verdict_of_a_person_counts_in_either_order_of_the_rows(tmp_path: Path) -> None:
    with opened(tmp_path) as verdicts:
        verdicts.add(1, 2, "keep", person="Ada")
        verdicts.add(2, 1, "near duplicate", person="Ada")
        verdicts.add(1, 2, "unsure", person="Bo")
        verdicts.add(1, None, "keep", person="Ada")
        assert said(verdicts) == [
            ("Ada", 2, 1, "near duplicate"),
            ("Bo", 1, 2, "unsure"),
            ("Ada", 1, None, "keep"),
        ]
        assert len(verdicts.history()) == 4
        assert verdicts.of(1) == list(verdicts) == verdicts.of(1)
        assert verdicts.of(2) == list(verdicts)[:2]
        assert verdicts.of(0) == verdicts.of(5) == []


def test_undo_takes_back_the_last_of_that_person_and_the_one_before_holds(tmp_path: Path) -> None:
    with opened(tmp_path) as verdicts:
        verdicts.add(1, 2, "keep", person="Ada")
        verdicts.add(3, 4, "keep", person="Ada")
        wrong = verdicts.add(1, 2, "false negative", person="Ada")
        verdicts.add(1, 2, "unsure", person="Bo")
        taken = verdicts.undo("Ada")
        assert taken is not None
        assert (taken.id, taken.undone) == (wrong.id, True)
        assert [j.verdict for j in verdicts.of(1)] == ["keep", "unsure"]
        assert [j.undone for j in verdicts.history()] == [False, False, True, False]
        assert [verdicts.undo("Ada") is None for _ in range(3)] == [False, False, True]
        assert said(verdicts) == [("Bo", 1, 2, "unsure")]
        verdicts.add(1, 2, "keep", person="Ada")
        assert len(verdicts) == 2


@pytest.mark.parametrize(
    ("given", "decided"),
    [
        (["keep"], "keep"),
        (["keep", "keep", "false negative"], "keep"),
        (["keep", "false negative"], "unsure"),
        (["near duplicate", "false negative", "keep"], "unsure"),
        (["false negative", "false negative", "near duplicate", "unsure"], "false negative"),
        (["unsure", "unsure", "keep"], "unsure"),
    ],
)
def test_several_people_decide_by_most_votes(
    tmp_path: Path, given: list[str], decided: str
) -> None:
    with opened(tmp_path) as verdicts:
        for person, verdict in enumerate(given):
            verdicts.add(4, 3, verdict, person=str(person))
        (decision,) = verdicts.decided().values()
        assert (decision.rows, decision.verdict) == ((3, 4), decided)
        assert (decision.people, sum(decision.votes.values())) == (len(given), len(given))
        assert decision.agreed == (len(set(given)) == 1)


def test_what_no_miner_may_take(tmp_path: Path) -> None:
    with opened(tmp_path) as verdicts:
        assert [a.shape for a in (verdicts.excluded().pairs, verdicts.excluded().rows)] == [
            (0, 2),
            (0,),
        ]
        for target, hard, verdict in (
            (5, 0, "near duplicate"), (2, 1, "false negative"), (3, 4, "keep"),
            (0, 1, "unsure"), (4, None, "mismatch"), (3, None, "keep"),
        ):  # fmt: skip
            verdicts.add(target, hard, verdict, person="Ada")
        found = verdicts.excluded()
        assert (found.pairs.tolist(), found.rows.tolist()) == ([[0, 5], [1, 2]], [4])
        assert found.pairs.dtype == found.rows.dtype == np.int64
        assert found.source == str(tmp_path / "v")


def test_counts_by_verdict_and_person_and_the_agreement(tmp_path: Path) -> None:
    with opened(tmp_path) as verdicts:
        assert verdicts.counts()["agreement"] == {"judged": 0, "all_agreed": 0, "share": None}
        for person, first, second in (("A", "keep", "keep"), ("B", "keep", "unsure")):
            verdicts.add(0, 1, first, person=person)
            verdicts.add(2, 1, second, person=person)
        verdicts.add(0, 1, "near duplicate", person="C")
        verdicts.add(5, None, "mismatch", person="C")
        verdicts.add(5, None, "keep", person="C")
        verdicts.undo("C")
        assert verdicts.counts() == {
            "judged": 3,
            "pairs": {"keep": 1, "unsure": 1},
            "rows": {"mismatch": 1},
            "people": {
                "A": {"keep": 2},
                "B": {"keep": 1, "unsure": 1},
                "C": {"mismatch": 1, "near duplicate": 1},
            },
            "log": {"verdicts": 7, "undone": 1},
            "agreement": {"judged": 2, "all_agreed": 0, "share": 2 / 8},
        }


def test_keys_are_kept_and_rows_with_other_keys_refused(tmp_path: Path) -> None:
    keys = list("abcdef")
    with opened(tmp_path, keys=keys) as verdicts:
        verdicts.add(2, 0, "keep", person="Ada")
        verdicts.add(4, None, "keep", person="Ada")
        assert [(j.target_key, j.hard_key) for j in verdicts] == [("c", "a"), ("e", None)]
    opened(tmp_path, keys=keys).close()
    with pytest.raises(MismatchError, match=r"2 rows .* row 0 was 'a', now 'c'; row 2 was 'c'"):
        opened(tmp_path, keys=list("cbadef"))
    with pytest.raises(MismatchError, match="keys has 5 entries and pairs 6 rows"):
        opened(tmp_path, keys=keys[:5])


def test_a_store_gives_its_keys(tmp_path: Path) -> None:
    with helip.EmbeddingStore.create(tmp_path / "s", image_dim=4, text_dim=4) as writer:
        writer.append(["x", "y", "z"], np.eye(3, 4, dtype="f4"), np.eye(3, 4, dtype="f4"))
    store = helip.EmbeddingStore.open(tmp_path / "s")
    with Verdicts.open(tmp_path / "v", pairs=store) as verdicts:
        assert verdicts.add(2, 0, "keep", person="Ada").target_key == "z"
    mined = helip.mine(store, k=1, device="cpu", progress=False)
    Verdicts.open(tmp_path / "v", pairs=mined.with_store(store)).close()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ((math.nan, 1, "keep"), "target is nan, must be a whole number"),
        ((0, 1.5, "keep"), r"hard is 1.5, must be a whole number"),
        ((True, 1, "keep"), "target is True, must be a whole number"),
        ((-1, 1, "keep"), "target is -1, must be at least 0"),
        ((0, ROWS, "keep"), "hard is 6, must be a row of the data, 0 to 5"),
        ((3, 3, "keep"), "target and hard are both row 3"),
        ((0, 1, "good"), "verdict is 'good', must be one of 'keep', 'false negative'"),
        ((0, 1, "mismatch"), "one row's own caption, and hard is 1; give the row whose caption"),
        ((0, None, "near duplicate"), "about two rows, and hard is None"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    tmp_path: Path, call: tuple[Any, ...], words: str
) -> None:
    with opened(tmp_path) as verdicts:
        with pytest.raises(InvalidArgumentError, match=words):
            verdicts.add(*call, person="Ada")
        assert len(verdicts) == 0


@pytest.mark.parametrize("person", ["", "  ", None, 3, "a\nb", "x" * 101])
def test_a_person_has_a_name(tmp_path: Path, person: Any) -> None:
    with opened(tmp_path) as verdicts:
        for work in (verdicts.undo, lambda name: verdicts.add(0, 1, "keep", person=name)):
            with pytest.raises(InvalidArgumentError, match=r"person is .* a name of 1 to 100"):
                work(person)


def test_a_file_of_other_data_is_refused(tmp_path: Path) -> None:
    opened(tmp_path).close()
    for other, words in (
        (table(data="k2-c1-0-0"), "the keys or their order differ"),
        (table(data="k1-c2-0-0"), "the captions differ"),
        (table(rows=7), r"\(6 rows with .* there, 7 rows with"),
    ):
        with pytest.raises(MismatchError, match=words):
            opened(tmp_path, pairs=other)
    opened(tmp_path, pairs=table(data="")).close()  # which knows nothing that could differ


def test_a_file_is_made_for_a_table_alone(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no file of verdicts at"):
        Verdicts.open(tmp_path / "v")
    with pytest.raises(StorageError, match="Is a directory"):
        Verdicts.open(tmp_path)
    with pytest.raises(InvalidArgumentError, match="pairs is 'table', must be an open table"):
        opened(tmp_path, pairs="table")
    assert not list(tmp_path.iterdir())
    assert Verdicts.usual_path("a/cc3m.pairs") == Path("a/cc3m.pairs.verdicts")


def test_damaged_files_other_files_and_newer_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    with sqlite3.connect(tmp_path / "other") as other:
        other.execute("CREATE TABLE t (a)")
    with opened(tmp_path) as verdicts:
        for _ in range(60):
            verdicts.add(0, 1, "keep", person="Ada")
    whole = (tmp_path / "v").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "zeros").write_bytes(whole[:4096] + bytes(8192) + whole[12288:])
    with sqlite3.connect(tmp_path / "v") as newer:
        newer.execute("PRAGMA user_version = 2")
    with pytest.raises(CorruptError, match="text is damaged, or no file of verdicts"):
        Verdicts.open(tmp_path / "text")
    with pytest.raises(CorruptError, match="other is an SQLite file, but not one of verd"):
        Verdicts.open(tmp_path / "other")
    for name in ("cut", "zeros"):
        with pytest.raises(CorruptError, match=f"{name} is damaged"):
            Verdicts.open(tmp_path / name)
    with pytest.raises(UnsupportedError, match="verdicts of version 2, and this helip knows"):
        Verdicts.open(tmp_path / "v")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE log SET target = 6", "v has a verdict on row 6, and is of data with 6 rows"),
        ("DELETE FROM about", "v does not say what data it is of"),
        ("DROP VIEW kept", "v is no whole file of verdicts: no such table"),
    ],
)
def test_what_other_programs_broke_is_said(tmp_path: Path, change: str, words: str) -> None:
    with opened(tmp_path) as verdicts:
        verdicts.add(0, 1, "keep", person="Ada")
    with sqlite3.connect(tmp_path / "v") as other:
        other.execute(change)
    other.close()
    with pytest.raises(CorruptError, match=words), opened(tmp_path) as broken:
        broken.of(0)


def test_a_file_that_another_program_holds_is_said_to_be_locked(tmp_path: Path) -> None:
    with opened(tmp_path, wait=0.0) as verdicts:
        other = sqlite3.connect(tmp_path / "v", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="v is locked by another program"):
            verdicts.add(0, 1, "keep", person="Ada")
        assert list(verdicts) == []  # readers do not wait
        other.execute("ROLLBACK")
        verdicts.add(0, 1, "keep", person="Ada")
        other.close()


def test_threads_share_an_object(tmp_path: Path) -> None:
    with opened(tmp_path) as verdicts:

        def work(person: str) -> None:
            for i in range(10):
                verdicts.add(i % 5, 5, "keep", person=person)
                verdicts.of(5)

        threads = [threading.Thread(target=work, args=(name,)) for name in "ABC"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(verdicts), len(verdicts.history())) == (15, 30)


def test_a_key_that_is_not_utf8_is_judged_by_its_row(tmp_path: Path) -> None:
    keys = ["a", "\udcff.png", "c", "d", "e", "f"]
    with opened(tmp_path, keys=keys) as verdicts:
        one = verdicts.add(0, 1, "keep", person="Ada")
        assert (one.target_key, one.hard_key) == ("a", None)
    with opened(tmp_path, keys=keys) as verdicts:
        assert len(verdicts) == 1


def test_what_was_closed_and_a_time_of_no_year_are_said(tmp_path: Path) -> None:
    verdicts = opened(tmp_path)
    verdicts.add(0, 1, "keep", person="Ada")
    verdicts.close()
    with pytest.raises(InvalidArgumentError, match="v were closed; open them again"):
        verdicts.add(0, 1, "keep", person="Ada")
    connection = sqlite3.connect(tmp_path / "v")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("UPDATE log SET time = 9000000000000000000")
    connection.execute("PRAGMA ignore_check_constraints = ON")
    connection.execute("UPDATE log SET time = 9000000000000000000")
    connection.commit()
    connection.close()
    with pytest.raises(CorruptError, match="CHECK constraint failed"):
        opened(tmp_path)


def test_a_table_in_a_bucket_has_no_place_for_verdicts_beside_it() -> None:
    with pytest.raises(InvalidArgumentError, match="s3://bucket/x, and verdicts need a local disk"):
        Verdicts.usual_path("s3://bucket/x")
