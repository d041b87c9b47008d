"""A study: one SQLite file of questions, and of what people and rules answered."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from helip import CorruptError, InvalidArgumentError, MismatchError
from helip.common.files import named_file, sha256_of
from helip.common.options import Whole, check, method_keywords, require
from helip.common.sqlite_log import (
    LogFormat,
    SqliteLog,
    checked_person,
    connect,
    log_schema,
    time_of,
)
from helip.store import difference_words, fingerprint_differences
from helip_view.options import KINDS, StudyResultOptions
from helip_view.study_questions import Answer, Question, digest_of, from_row, order_of
from helip_view.study_results import results_of

FORMAT = LogFormat(
    application=0x68656C73,  # "hels"
    version=1,
    schema=(
        """CREATE TABLE questions (
  number INTEGER PRIMARY KEY,
  type TEXT NOT NULL CHECK (type IN ('harder', 'caption')),
  target INTEGER NOT NULL CHECK (typeof(target) = 'integer' AND target >= 0),
  pools TEXT NOT NULL  -- JSON: [[kind, [row, …]], …] from the first side to the last
)""",
        *log_schema(
            columns=("question INTEGER REFERENCES questions (number)", "answer TEXT"),
            said="answer",
            about="question",
            subject="question",
        ),
    ),
    file="file of a study",
    contents="answers",
)
_SAID = "question, answer"
_COLUMNS = f"id, time, person, {_SAID}"


class Study(SqliteLog):
    """Questions about pools of several kinds, and the answers to them, in one SQLite file.

    `make_study` makes one. The file names the table and the data that it is of. Answers are a log
    that is only appended to: of a person the newest answer to a question counts, and :meth:`undo`
    takes the last one back. An answer lasts once :meth:`answer` has returned, also through a kill
    or a power loss. Several processes may write to one file on a local disk. Threads may share an
    object. Do not use one after a fork: open the file again there.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        super().__init__(path, connection, FORMAT)
        rows = self._read("SELECT number, type, target, pools FROM questions ORDER BY number")
        try:
            self._questions = {row[0]: from_row(*row) for row in rows}
            self._rows, self._fingerprint = int(self._about["rows"]), self._about["fingerprint"]
            options = json.loads(self._about["options"])
            self._options: dict[str, Any] = dict(options)
            self._drawn: dict[str, Any] = dict(json.loads(self._about["drawn"]))
            whole = digest_of(self.questions) == self._fingerprint and bool(self._questions)
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(
                f"{path} is no whole file of a study ({error!r}); restore a copy, or make it anew"
            ) from error
        if not whole:
            raise CorruptError(
                f"the questions of {path} were changed by other means than helip; restore a copy, "
                "or make the study anew"
            )
        for number, answer in self._read(
            "SELECT DISTINCT question, answer FROM log WHERE answer IS NOT NULL"
        ):
            if number not in self._questions or answer not in self._questions[number].answers:
                raise CorruptError(
                    f"{path} has the answer {answer!r} to question {number}, which is none of the "
                    "study; it was changed by other means than helip, restore a copy"
                )
        last = max(max(question.rows) for question in self.questions)
        if last >= self._rows or not {k for q in self.questions for k in q.kinds} <= set(KINDS):
            raise CorruptError(
                f"{path} asks about row {last}, and is of data with {self._rows} rows; make the "
                "study anew"
            )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        pairs: Any = None,
        data: Any = None,
        wait: float = 10.0,
    ) -> Study:
        """Opens the file of a study.

        Args:
            pairs: the open table of which the study must be. None: it is not compared.
            data: the open data set of which it must be. None: it is not compared.
            wait: seconds to wait for another process that is writing.

        Raises:
            MismatchError: a study of another table or of other data. StorageError: no file, or
                locked. CorruptError: damaged, or no study. UnsupportedError: newer.
        """
        path = Path(named_file(path))
        check("wait", wait, float)
        require(wait >= 0, "wait", wait, "at least 0 seconds")
        connection = connect(path, FORMAT, wait=wait)
        try:
            found = cls(path, connection)
            found._refuse_others(pairs, data)
        except BaseException:
            connection.close()
            raise
        return found

    @property
    def fingerprint(self) -> str:
        """Of the questions: the same table, data, store and options give the same."""
        return self._fingerprint

    @property
    def options(self) -> dict[str, Any]:
        """With which it was made."""
        return dict(self._options)

    @property
    def drawn(self) -> dict[str, Any]:
        """How the targets were drawn: ``targets`` that could be asked about, and how many of those
        that were drawn were ``left_out``, by reason."""
        return dict(self._drawn)

    @property
    def questions(self) -> tuple[Question, ...]:
        """All questions, by number."""
        return tuple(self._questions.values())

    def __len__(self) -> int:
        """How many questions there are."""
        return len(self._questions)

    def question(self, number: int) -> Question:
        """The question of that number, from 1."""
        check("question", number, Whole)
        bound = f"a question of the study, 1 to {len(self)}"
        require(number in self._questions, "question", number, bound)
        return self._questions[number]

    def answer(self, question: Question | int, person: str, answer: str | int) -> Answer:
        """Writes what ``person`` answers; see `Question.answers` for what may be answered.

        Raises:
            InvalidArgumentError: no such question, no name, or no such answer. StorageError: the
                file is locked, or the disk is full.
        """
        asked = self._asked(question)
        return self._put([(asked.number, asked.checked(answer))], checked_person(person))[0]

    def answer_all(self, rule: Callable[[Question], str | int], person: str) -> int:
        """Answers all questions by a function, in one transaction, under the name ``person``; what
        they had answered before no longer counts. Returns how many there are."""
        person = checked_person(person)
        given = [(each.number, each.checked(rule(each))) for each in self.questions]
        return len(self._put(given, person))

    def undo(self, person: str) -> Answer | None:
        """Takes back the newest answer of ``person`` that stands in the log; returns it. None where
        there is nothing to undo."""
        person = checked_person(person)
        last = self._take_back(person, _SAID)
        return None if last is None else _answer(last)

    def order(self, person: str) -> list[int]:
        """Numbers of the questions in the person's own order, which their name decides."""
        return order_of(self.questions, checked_person(person), self._fingerprint)

    def next(self, person: str) -> Question | None:
        """The first question in the person's order that they have not answered; None at the end."""
        done = self._answered(person)
        left = (number for number in self.order(person) if number not in done)
        return self._questions.get(next(left, 0))

    def progress(self, person: str) -> tuple[int, int]:
        """How many questions the person has answered, and how many there are."""
        return len(self._answered(person)), len(self)

    def answers(self) -> list[Answer]:
        """The newest answer of each person to each question, in order of time."""
        rows = self._read(f"SELECT {_COLUMNS} FROM standing ORDER BY time, id")
        return [_answer(row) for row in rows]

    @method_keywords(StudyResultOptions)
    def results(self, options: StudyResultOptions) -> dict[str, Any]:
        """Rates by kind and by pair of kinds with 95 % intervals, and agreement, as JSON-able
        values; docs/study.md says what each is.

        UnsupportedError where two or more people answered and scikit-learn is absent.
        """
        about = {
            "cards": len(self),
            "fingerprint": self._fingerprint,
            "table": self._about.get("table", ""),
            "data_fingerprint": self._about.get("data_fingerprint", ""),
            "options": self.options,
            "drawn": self.drawn,
        }
        answers = self.answers()
        known = sorted({each.person for each in answers})
        for person in options.people:
            bound = f"one who answered: {', '.join(known) or 'nobody did yet'}"
            require(person in known, "people", person, bound)
        if options.people:
            answers = [each for each in answers if each.person in options.people]
        found = results_of(self._questions, answers, options.bootstrap, options.seed)
        return {"study": about, "bootstrap": options.bootstrap, **found}

    def __repr__(self) -> str:
        return f"Study({os.fspath(self._path)!r}, {len(self):,} questions)"

    def _asked(self, question: Question | int) -> Question:
        if not isinstance(question, Question):
            return self.question(question)
        if self._questions.get(question.number) != question:
            raise InvalidArgumentError(
                f"question {question.number} is not of the study in {self._path}; take it from "
                "study.questions"
            )
        return question

    def _answered(self, person: str) -> set[int]:
        query = "SELECT DISTINCT question FROM kept WHERE person = ?"
        return {row[0] for row in self._read(query, (checked_person(person),))}

    def _put(self, given: Sequence[tuple[int, str]], person: str) -> list[Answer]:
        return [_answer(row) for row in self._append(person, _SAID, given)]

    def _refuse_others(self, pairs: Any, data: Any) -> None:
        if pairs is not None and table_digest(pairs) != self._about.get("table", ""):
            raise MismatchError(
                f"the study in {self._path} is of another table than this; give the table that it "
                "was made of, or make a study of this one: helip study make"
            )
        if data is None:
            return
        known, here = self._about.get("data_fingerprint", ""), getattr(data, "fingerprint", "")
        differ = fingerprint_differences(known, here)
        if len(data) != self._rows or differ:
            raise MismatchError(
                f"the study in {self._path} is of other data than this{difference_words(differ)} "
                f"({self._rows:,} rows there, {len(data):,} here); give the data that it was "
                "made of, or make a new study"
            )


def _answer(row: Sequence[Any]) -> Answer:
    entry, at, person, question, answer = row
    return Answer(entry, time_of(at), person, question, answer)


def table_digest(pairs: Any) -> str:
    """What the table is: of one in a folder its manifest, which names the sums of all its bytes."""
    if pairs.path:
        return sha256_of(Path(pairs.path) / "manifest.json")
    digest = hashlib.sha256(f"{len(pairs)} {pairs.k}".encode())
    for array in (pairs.ids, pairs.scores):
        digest.update(array.tobytes())
    return digest.hexdigest()
