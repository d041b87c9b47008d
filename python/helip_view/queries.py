"""What an address of the viewer asks for: a way in, filters, sorting, and a place in it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from helip import InvalidArgumentError
from helip_view.maps import parse_region
from helip_view.orders import BY_NAME

_LONGEST = 200  # letters of a search
JUDGED = "judged"
#: Which pairs by their verdict: all, those that nobody judged, and those decided as named.
STATES = (
    "", "open", JUDGED, "keep", "false negative", "near duplicate", "mismatch", "unsure",
)  # fmt: skip


@dataclass(frozen=True)
class Query:
    """The same address shows the same, as long as table and verdicts are the same."""

    way: str = "hardest"
    at: int = 0
    """Place in the order, from 0."""
    rank: int | None = None
    """Hard pair in the pool of the target, from 1; None: that of the way."""
    hard: int | None = None
    """Row of the hard pair, in place of a rank."""
    q: str = ""
    """Words of the target's caption."""
    low: float | None = None
    """Least best score of the target."""
    high: float | None = None
    """Greatest one."""
    up: bool = False
    """Whether the order is turned around."""
    seed: int = 0
    """Of the way ``random``."""
    state: str = ""
    """One of STATES."""
    region: str = ""
    """Of the map, where the targets lie; see `parse_region`."""

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> Query:
        """InvalidArgumentError for a value out of its bound; names that are unknown are passed
        over."""
        found: dict[str, Any] = {}
        for name, least in (("at", 0), ("rank", 1), ("hard", 0), ("seed", 0)):
            if text := given.get(name, "").strip():
                found[name] = _whole(name, text, least)
        for name in ("low", "high"):
            if text := given.get(name, "").strip():
                found[name] = _number(name, text)
        found["way"] = way = given.get("way", "hardest")
        if way not in BY_NAME:
            raise InvalidArgumentError(f"way is {way[:40]!r}, must be one of {', '.join(BY_NAME)}")
        found["state"] = state = given.get("state", "")
        if state not in STATES:
            raise InvalidArgumentError(f"state is {state[:40]!r}, must be one of {STATES[1:]}")
        found["q"] = " ".join(given.get("q", "").split())[:_LONGEST]
        if region := given.get("region", ""):
            parse_region(region)
            found["region"] = region
        found["up"] = given.get("up", "") in ("1", "on", "true")
        return cls(**found)

    def url(self, **changes: Any) -> str:
        """The address of this query, with ``changes``."""
        kept = {
            name: "1" if value is True else value
            for name, value in {**vars(self), **changes}.items()
            if value != _USUAL[name]
        }
        return "/?" + urlencode(kept) if kept else "/"

    @property
    def base(self) -> tuple[Any, ...]:
        """What decides which targets come in which order."""
        return self.way, self.q, self.low, self.high, self.up, self.seed, self.region


_USUAL = vars(Query())


def _whole(name: str, text: str, least: int) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18 or int(text) < least:
        raise InvalidArgumentError(f"{name} is {text[:40]!r}, must be a whole number from {least}")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        value = float(text) if len(text) <= 40 else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidArgumentError(f"{name} is {text[:40]!r}, must be a number")
    return value
