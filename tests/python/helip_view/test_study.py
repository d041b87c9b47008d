"""The file of a study: what it keeps, and which files it refuses."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import helip
import helip_view
from helip.common.errors import (
    CorruptError,
    InvalidArgumentError,
    MismatchError,
    StorageError,
    UnsupportedError,
)
from support.study_samples import CARDS, make, unanswered

# Answers one question after the other, and says which are written. argv: file, person.
WRITER = """
import sys
import helip_view

with helip_view.Study.open(sys.argv[1]) as study:
    while (question := study.next(sys.argv[2])) is not None:
        study.answer(question, sys.argv[2], question.answers[0])
        print(question.number, flush=True)
        sys.stdin.readline()
"""


@pytest.fixture
def path(folder: Path, tmp_path: Path) -> Path:
    """A study without answers."""
    return unanswered(folder, tmp_path / "study")


def by(study: Any, person: str) -> dict[int, str]:
    return {each.question: each.answer for each in study.answers() if each.person == person}


def test_the_newest_answer_of_a_person_counts_and_undo_takes_it_back(path: Path) -> None:
    with helip_view.Study.open(path) as study:
        harder = next(each for each in study.questions if each.type == "harder")
        study.answer(harder, "Ann", 1)
        study.answer(harder.number, " Ann ", "same")
        study.answer(harder, "Bo", "2")
        assert by(study, "Ann") == {harder.number: "same"}
        assert study.progress("Ann") == (1, CARDS)
        assert study.undo("Ann").answer == "same"
        assert by(study, "Ann") == {harder.number: "1"}
        study.undo("Ann")
        assert study.undo("Ann") is None and by(study, "Ann") == {}
        assert by(study, "Bo") == {harder.number: "2"}


def test_questions_come_in_the_order_of_the_person_until_all_are_answered(path: Path) -> None:
    asked = []
    for _ in range(CARDS):
        with helip_view.Study.open(path) as study:  # closed and opened: it goes on
            question = study.next("Ann")
            asked.append(question.number)
            study.answer(question, "Ann", question.answers[-1])
    with helip_view.Study.open(path) as study:
        assert asked == study.order("Ann") and study.next("Ann") is None
        assert study.next("Bo").number == study.order("Bo")[0]


def test_a_rule_answers_all_questions(path: Path) -> None:
    with helip_view.Study.open(path) as study:
        assert study.answer_all(lambda question: question.answers[1], "rule") == CARDS
        assert by(study, "rule") == {each.number: each.answers[1] for each in study.questions}
        with pytest.raises(InvalidArgumentError, match="answer is 'maybe', must be one of"):
            study.answer_all(lambda _: "maybe", "other")
        assert set(study.results(bootstrap=0)["people"]) == {"rule"}


def test_people_may_be_chosen(path: Path) -> None:
    with helip_view.Study.open(path) as study:
        study.answer_all(lambda question: question.answers[0], "a")
        study.answer_all(lambda question: question.answers[1], "b")
        own = study.results(bootstrap=0, people=("a",))
        assert own["people"] == {"a": CARDS} and own["sides"] == {"1": 12}
        assert study.results(bootstrap=0)["sides"] == {"1": 12, "2": 12}
        with pytest.raises(InvalidArgumentError, match="people is 'c', must be one who answered: "):
            study.results(people=("c",))


def test_results_are_json(path: Path) -> None:
    pytest.importorskip("sklearn")
    with helip_view.Study.open(path) as study:
        empty = study.results()
        assert json.loads(json.dumps(empty)) == empty and empty["people"] == {}
        for name in ("a", "b"):
            study.answer_all(lambda question: question.answers[0], name)
        found = study.results(bootstrap=5)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found["study"]["fingerprint"] == study.fingerprint
        assert found["study"]["options"]["cards"] == CARDS


@pytest.mark.parametrize("person", ["", "  ", "a\nb", "x" * 101, None])
def test_a_name_must_be_one(path: Path, person: Any) -> None:
    with helip_view.Study.open(path) as study:
        for call in (lambda: study.answer(1, person, study.question(1).answers[0]),
                     lambda: study.undo(person), lambda: study.next(person)):  # fmt: skip
            with pytest.raises(InvalidArgumentError, match=r"person is .*, must be a name of 1 to"):
                call()
        assert study.answers() == []


@pytest.mark.parametrize("number", [0, CARDS + 1, 1.5, "1"])
def test_a_question_must_be_of_the_study(path: Path, number: Any) -> None:
    with (
        helip_view.Study.open(path) as study,
        pytest.raises(InvalidArgumentError, match="question is"),
    ):
        study.answer(number, "Ann", 1)


def test_a_question_of_another_study_is_refused(folder: Path, path: Path, tmp_path: Path) -> None:
    refused = pytest.raises(InvalidArgumentError, match="question 1 is not of the study in")
    with make(folder, tmp_path / "other", seed=9) as other, helip_view.Study.open(path) as study:
        question = other.question(1)
        with refused:
            study.answer(question, "Ann", question.answers[0])


def test_a_study_of_another_table_or_other_data_is_refused(
    folder: Path, path: Path, tmp_path: Path
) -> None:
    store = helip.EmbeddingStore.open(folder / "store")
    other = helip.mine(store, k=5, device="cpu", out=tmp_path / "pairs", progress=False)
    with pytest.raises(MismatchError, match="is of another table than this; give the table that"):
        helip_view.Study.open(path, pairs=other)
    data = helip.open_dataset(folder / "pictures")
    with pytest.raises(MismatchError, match=r"is of other data than this.* \(40 rows"):
        helip_view.Study.open(path, data=data.subset(range(39)))
    helip_view.Study.open(path, pairs=helip.HardPairs.open(folder / "pairs"), data=data).close()


def changed(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    with connection:
        for each in statements:
            connection.execute(each)
    connection.close()
    return path


@pytest.mark.parametrize(
    ("statement", "error", "words"),
    [
        ("UPDATE questions SET target = target + 1 WHERE number = 2", CorruptError,
         "questions of .*study were changed by other means"),
        ("UPDATE questions SET pools = '[[1]]' WHERE number = 2", CorruptError, "no whole file"),
        ("DELETE FROM about WHERE name = 'options'", CorruptError, "no whole file of a study"),
        ("DROP TABLE questions", CorruptError, "no whole file of a study: no such table"),
        ("INSERT INTO log (id, time, person, question, answer) VALUES ('a', 1, 'b', 99, 'yes')",
         CorruptError, "the answer 'yes' to question 99"),
        ("PRAGMA user_version = 2", UnsupportedError, "answers of version 2, and this helip knows"),
        ("PRAGMA application_id = 1", CorruptError, "an SQLite file, but not one of answers"),
    ],
    ids=["target", "pools", "options", "table", "answer", "version", "other"],
)  # fmt: skip
def test_a_damaged_file_is_refused(path: Path, statement: str, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        helip_view.Study.open(changed(path, statement))


def test_what_is_no_study_is_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database at all")
    with pytest.raises(CorruptError, match="text is damaged, or no file of a study"):
        helip_view.Study.open(tmp_path / "text")
    with pytest.raises(StorageError, match="there is no file of a study at"):
        helip_view.Study.open(tmp_path / "none")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptError, match="study is damaged"):
        helip_view.Study.open(path)


def test_answers_outlast_a_kill(path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "Ann"], stdout=subprocess.PIPE,
        stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    written = []
    for _ in range(5):
        written.append(int(writer.stdout.readline()))
        if len(written) < 5:
            writer.stdin.write("\n")
            writer.stdin.flush()
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    with helip_view.Study.open(path) as study:
        assert [each.question for each in study.answers()] == written == study.order("Ann")[:5]
        assert study.next("Ann").number == study.order("Ann")[5]


def test_a_locked_file_says_so(path: Path) -> None:
    with helip_view.Study.open(path, wait=0.05) as study:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="study is locked by another program"):
            study.answer(1, "Ann", study.question(1).answers[0])
        other.close()
        study.answer(1, "Ann", study.question(1).answers[0])
