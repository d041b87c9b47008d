"""Requests and answers of the viewer, apart from any library of web servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    """A request that the guard let in."""

    path: Mapping[str, str] = field(default_factory=dict)
    """Parts of the path that the route names."""
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    person: str = ""
    """The name that its browser keeps."""
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    body: str | bytes = ""
    kind: str = "text/html; charset=utf-8"
    status: int = 200
    place: str = ""
    """An address of this server to go to."""
    person: str | None = None
    """A name for its browser to keep."""
    seconds: int = 0
    """How long the browser may keep it."""


def go(place: str, person: str | None = None) -> Answer:
    """To another address of this server."""
    return Answer(status=303, place=place, person=person)
