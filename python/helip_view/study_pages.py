"""The pages of a study: they ask its questions, and never say what made a pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from helip import Error, InvalidArgumentError, SampleError
from helip.common.sqlite_log import checked_person
from helip.common.text import caption
from helip.data import captions_of
from helip.reporting import Picture, environment
from helip_view.cards import LONGEST
from helip_view.pages import Answer, Asked, go, picture_answer, refused
from helip_view.study import Study
from helip_view.study_questions import Question
from helip_view.thumbnails import SIDE, Thumbnails, reason_of

_SHORT = 160  # letters of a caption in a pool
_NOT_CLEAR = "0"  # the key of "same" and "unsure"


@dataclass(frozen=True)
class ShownRow:
    """A row as a question shows it: without its number or key."""

    picture: Picture
    words: Any
    """Its first caption as markup; None where it cannot be read."""


class StudyPages:
    """Answers requests of those who answer a study. Safe to use from threads."""

    def __init__(self, study: Study, data: Any, thumbnails: Thumbnails) -> None:
        self._study, self._data, self._thumbnails = study, data, thumbnails
        self._rows = {row for question in study.questions for row in question.rows}
        self._title = study.path.name

    def question(self, asked: Asked) -> Answer:
        """The next question of a person; their name first, thanks at the end."""
        return self._page(_name_of(asked))

    def answer(self, asked: Asked) -> Answer:
        """Keep an answer, and go on to the next question."""
        person = _name_of(asked)
        if not person:
            return self._page(person)
        text = asked.form.get("question", "")
        if not text.isascii() or not text.isdecimal() or len(text) > 18:
            raise InvalidArgumentError(
                f"question is {text[:40]!r}, must be 1 to {len(self._study)}"
            )
        self._study.answer(int(text), person, asked.form.get("answer", "")[:40])
        return go("/")

    def undo(self, asked: Asked) -> Answer:
        """Take back the person's last answer; its question comes again."""
        if person := _name_of(asked):
            self._study.undo(person)
        return go("/")

    def name(self, asked: Asked) -> Answer:
        """Keep the name of a person, who may be another from now on."""
        given = asked.form.get("person", "")
        return go("/", checked_person(given))

    def picture(self, asked: Asked) -> Answer:
        """The thumbnail of a row that a question shows."""
        text = asked.path["row"]
        known = text.isascii() and text.isdecimal() and len(text) <= 18 and int(text) in self._rows
        if not known:
            raise InvalidArgumentError(f"row is {text[:40]!r}, must be one that a question shows")
        return picture_answer(self._thumbnails, int(text))

    def refusal(self, error: Exception, status: int) -> Answer:
        """A page that says what is wrong."""
        return refused("study_refusal.html", self._title, error, status)

    def _page(self, person: str) -> Answer:
        question, done = None, 0
        if person:
            question, (done, _) = self._study.next(person), self._study.progress(person)
        page = environment("helip_view").get_template("study.html")
        return Answer(page.render(
            title=self._title, person=person, question=question, done=done,
            count=len(self._study), keys=_keys(question), pools=self._pools(question),
            target=question and self._shown(question.target, "The target", LONGEST),
        ))  # fmt: skip

    def _pools(self, question: Question | None) -> list[list[ShownRow]]:
        if question is None:
            return []
        limit = LONGEST if question.type == "caption" else _SHORT
        return [
            [
                self._shown(row, f"Picture {place} of pool {side}", limit)
                for place, row in enumerate(pool, 1)
            ]
            for side, pool in enumerate(question.pools, 1)
        ]

    def _shown(self, row: int, alt: str, limit: int) -> ShownRow:
        try:
            words = caption(captions_of(self._data, row)[0], limit)
        except SampleError:
            words = None
        address = f"/picture/{row}?of={self._thumbnails.mark}"
        try:
            self._thumbnails.get(row)
        except Error as error:
            return ShownRow(Picture(alt, reason_of(error)), words)
        return ShownRow(Picture(alt, "", SIDE, SIDE, address), words)


def _name_of(asked: Asked) -> str:
    """The name that the browser keeps; empty where it is none."""
    try:
        return checked_person(asked.person)
    except InvalidArgumentError:
        return ""


def _keys(question: Question | None) -> dict[str, str]:
    """Key → answer, the one that decides nothing last."""
    if question is None:
        return {}
    *decided, last = question.answers
    return {str(place): answer for place, answer in enumerate(decided, 1)} | {_NOT_CLEAR: last}
