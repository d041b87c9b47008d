"""What an address of the viewer asks for: a way in, filters, sorting, and a place in it."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import numpy as np

from helip import InvalidArgumentError, UnsupportedError
from helip_view.maps import Maps, parse_region
from helip_view.orders import BY_NAME, Order, Orders
from helip_view.search import CaptionSearch
from helip_view.verdicts import Proposed

_ORDERS = 16  # filtered ones that are kept
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


class ShownOrders:
    """The order of a query, filtered and turned; the last ones are kept, so that a step through one
    costs nothing. ``None`` while captions are being indexed. Safe to use from threads."""

    def __init__(
        self, orders: Orders, search: CaptionSearch, maps: Maps, proposed: Proposed
    ) -> None:
        self.orders, self._search, self._maps = orders, search, maps
        self.proposed = proposed
        self._kept: OrderedDict[Any, Order] = OrderedDict()
        self._lock = threading.Lock()

    def order(self, query: Query) -> Order | None:
        """The targets of a query. UnsupportedError for a way that this table has not."""
        way = BY_NAME[query.way]
        if not self.orders.kinds[way.needs]:
            needed = {
                "store": "--store", "model": "--model", "models": "--model twice",
                "verdicts": "--store, and --verdicts where the table is in no folder",
            }  # fmt: skip
            raise UnsupportedError(
                f"{way.title} needs what was not given; start helip view with {needed[way.needs]}"
            )
        with self._lock:
            if query.base in self._kept:
                self._kept.move_to_end(query.base)
                return self._kept[query.base]
        if (found := self._made(query)) is not None:
            with self._lock:
                self._kept[query.base] = found
                while len(self._kept) > _ORDERS:
                    self._kept.popitem(last=False)
        return found

    def _made(self, query: Query) -> Order | None:
        if query.way == "next":
            order = self.proposed.learnt(query.seed).order
        else:
            order = self.orders.order(query.way, query.seed)
        if query.low is None and query.high is None and not query.q and not query.region:
            return _turned(order) if query.up else order
        keep = np.ones(len(self.orders.first), dtype=bool)
        if query.q:
            if (rows := self._search.find(query.q)) is None:
                return None
            keep[:] = False
            keep[rows[rows < len(keep)]] = True
        if query.region:
            if not self._maps.there:
                raise UnsupportedError("a region needs the map; start helip view with --store")
            near = np.zeros(len(keep), dtype=bool)
            near[self._maps.inside(query.region)] = True
            keep &= near
        with np.errstate(invalid="ignore"):
            if query.low is not None:
                keep &= self.orders.first >= query.low
            if query.high is not None:
                keep &= self.orders.first <= query.high
        found = order.taken(np.flatnonzero(keep[order.targets]))
        return _turned(found) if query.up else found


def step(
    order: Order, at: int, by: int, wanted: Callable[[int, int], bool] | None = None
) -> int | None:
    """The next place from ``at`` in the direction ``by`` (1 or -1) whose target and rank are
    ``wanted``; None at the end."""
    place = at + by
    while 0 <= place < len(order):
        if wanted is None or wanted(int(order.targets[place]), order.rank(place)):
            return place
        place += by
    return None


def _turned(order: Order) -> Order:
    return Order(
        order.targets[::-1],
        None if order.values is None else order.values[::-1],
        None if order.ranks is None else order.ranks[::-1],
    )
