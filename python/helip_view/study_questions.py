"""One question of a study, and what may be answered to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from helip import InvalidArgumentError
from helip_view.options import Kind, Type

#: Beside the sides of a question about pools, from "1" on.
SAME = "same"
CAPTION_ANSWERS = ("yes", "no", "unsure")


@dataclass(frozen=True)
class Question:
    """What is asked about one target. Immutable."""

    number: int
    """From 1, in an order that says nothing of the kinds."""
    type: Type
    """``harder``: which of the pools is harder for the target? ``caption``: is the caption of the
    one row in the one pool also right for the picture of the target?"""
    target: int
    pools: tuple[tuple[int, ...], ...]
    """Rows on each side, in no order of rank."""
    kinds: tuple[Kind, ...]
    """What made each pool; no person is shown it, and no rule should look at it."""

    @property
    def answers(self) -> tuple[str, ...]:
        """What may be answered: the side of the harder pool from "1" on or "same"; "yes", "no" or
        "unsure"."""
        if self.type == "caption":
            return CAPTION_ANSWERS
        return (*(str(side) for side in range(1, len(self.pools) + 1)), SAME)

    @property
    def rows(self) -> tuple[int, ...]:
        """All rows that it shows."""
        return (self.target, *(row for pool in self.pools for row in pool))

    def checked(self, answer: Any) -> str:
        """The answer as text; a side may be given as a number."""
        text = str(answer) if isinstance(answer, int) and not isinstance(answer, bool) else answer
        if text not in self.answers:
            raise InvalidArgumentError(
                f"answer is {answer!r}, must be one of {', '.join(map(repr, self.answers))} for "
                f"question {self.number}"
            )
        return str(text)


@dataclass(frozen=True)
class Answer:
    """What one person answered to one question. Immutable."""

    id: str
    """Of this answer, the same in every copy of the file."""
    time: datetime
    """When it was given, in UTC."""
    person: str
    question: int
    """Its number."""
    answer: str


def to_json(question: Question) -> str:
    """The pools of a question as the file keeps them."""
    return json.dumps([[k, list(p)] for k, p in zip(question.kinds, question.pools, strict=True)])


def from_row(number: int, type_: Type, target: int, pools: str) -> Question:
    """A question from the file. ValueError or TypeError where the pools are no such JSON."""
    found = [(str(kind), tuple(int(row) for row in rows)) for kind, rows in json.loads(pools)]
    rows = tuple(pool for _, pool in found)
    return Question(number, type_, target, rows, tuple(kind for kind, _ in found))  # type: ignore[misc]


def digest_of(questions: Sequence[Question]) -> str:
    """SHA-256 of all questions, in hexadecimal."""
    digest = hashlib.sha256()
    for each in questions:
        digest.update(f"{each.number} {each.type} {each.target} {to_json(each)}\n".encode())
    return digest.hexdigest()


def order_of(questions: Sequence[Question], person: str, fingerprint: str) -> list[int]:
    """Numbers of the questions in the order of a person: the same in every process."""

    def place(question: Question) -> bytes:
        words = f"{fingerprint}\0{person}\0{question.number}".encode()
        return hashlib.sha256(words).digest()

    return [question.number for question in sorted(questions, key=place)]
